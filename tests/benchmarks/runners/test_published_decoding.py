import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from co2net_benchmarks.runners.published_decoding import decode as published_decode
from co2net_benchmarks.runners.published_decoding import soft_nms_in_loops
from co2net_runtime.decoding.proposals import decode
from co2net_runtime.options import DecodeOptions
from studies.decoder_speed import soft_nms_in_numpy

TWENTIETHS = st.integers(0, 20).map(lambda n: n / 20)
FORMS = pytest.mark.parametrize("soft_nms", [soft_nms_in_loops, soft_nms_in_numpy])


@st.composite
def options(draw):
    low, high = sorted([draw(TWENTIETHS), draw(TWENTIETHS)])
    return DecodeOptions(
        class_threshold=draw(st.sampled_from([0.0, 0.2, 0.5, 2.0])),
        video_topk_divisor=draw(st.integers(1, 10)),
        threshold_min=low,
        threshold_max=high,
        threshold_count=draw(st.integers(1, 12)),
        outer_margin=draw(st.sampled_from([0.0, 0.25, 0.3, 1.0, 40.0])),
        class_score_weight=draw(st.sampled_from([0.0, 0.2, -1.0])),
        nms_sigma=draw(st.sampled_from([1e-4, 0.1, 0.3, 2.0])),
    )


@st.composite
def coarse_curves(draw):
    """(cas, attention) of few distinct values: equal scores, flat runs, values at thresholds."""
    snippets, classes = draw(st.integers(1, 60)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    palette = np.array(draw(st.lists(TWENTIETHS, min_size=1, max_size=6)), dtype=np.float32)
    attention = rng.choice(palette, snippets)
    if draw(st.booleans()):
        attention = np.sort(attention)
    levels = draw(st.integers(0, 6))
    cas = rng.integers(-levels, levels + 1, (snippets, classes + 1)) / 2
    return cas.astype(np.float32), attention


@given(coarse_curves(), options())
@settings(max_examples=400, deadline=None)
def test_the_runtime_decides_every_tie_as_the_loops_do(curves, options):
    found = decode(*curves, options)
    # np.exp, as in the runtime: math.exp differs in the last bit, and so would ties
    expected = published_decode(*curves, options, soft_nms_in_numpy)
    for name in ("start", "end", "label", "score"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)


@FORMS
@given(st.integers(1, 150), st.integers(0, 2**32 - 1), options(), st.floats(0.1, 10))
@settings(max_examples=60, deadline=None)
def test_the_runtime_equals_the_loops_on_any_curves(soft_nms, snippets, seed, options, scale):
    rng = np.random.default_rng(seed)
    cas = (scale * rng.standard_normal((snippets, 4))).astype(np.float32)
    attention = rng.random((snippets, 1), dtype=np.float32)
    found = decode(cas, attention, options)
    expected = published_decode(cas, attention, options, soft_nms)
    for name in ("start", "end", "label"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
    np.testing.assert_allclose(found.score, expected.score, rtol=1e-9, atol=1e-12)


@FORMS
@pytest.mark.parametrize("name", ["smooth1", "smooth9", "smooth200", "multi1", "first_and_block"])
def test_the_loops_give_the_published_rows(soft_nms, name, golden):
    arrays = golden("proposals")
    cas, attention, expected = (arrays[f"{name}_{part}"] for part in ("cas", "attn", "out"))
    found = published_decode(cas, attention, soft_nms=soft_nms)
    table = np.stack([found.start, found.end, found.label], axis=1)
    np.testing.assert_array_equal(table, expected[:, :3])
    np.testing.assert_allclose(found.score, expected[:, 3], rtol=0, atol=1e-5)
