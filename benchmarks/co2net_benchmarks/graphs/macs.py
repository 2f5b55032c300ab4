"""Arithmetic of the network, for comparing what was reached with what the machine can do."""

from co2net.config import ModelConfig


def macs_per_snippet(config: ModelConfig) -> int:
    """Return the multiply-accumulates for one more snippet (method, section 1); FLOP are twice.

    Per consensus module with main width m, auxiliary width x and attention width a:
    3 x m (local context) + 3 m a + 3 a a + a (attention). Head, with rgb + flow = d and embedding
    width e: d e (fusion) + 3 e e + e (C + 1) (classifier). What is computed once a video (the
    global context, m m) and element by element is left out. 27.8 M at the published sizes.

    It is the plain convolutions' count whatever the artefact does, so an artefact that saves
    arithmetic (Winograd) shows a rate above what it really computes, as it should.
    """
    rgb, flow = config.rgb_dim, config.flow_dim
    attention, embed = config.attention_dim, config.embed_dim
    total = (rgb + flow) * embed + 3 * embed * embed + embed * (config.classes + 1)
    for main, auxiliary in ((rgb, flow), (flow, rgb)):
        total += 3 * auxiliary * main + 3 * main * attention + 3 * attention**2 + attention
    return total
