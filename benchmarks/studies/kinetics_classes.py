"""The likeliest Kinetics-400 classes of a clip: do weights and pixels fit together?

    python benchmarks/studies/kinetics_classes.py rgb.onnx clip.mp4

rgb.onnx is a backbone that co2net-backbone wrote with --logits. The scores are the mean over a few
snippets, evenly spread over the clip.
"""

from pathlib import Path

import click
import numpy as np

from co2net_export.backbone.clips import video_clips
from co2net_export.graph.session import open_session
from co2net_runtime.artefact.backbone import CLIPS_INPUT, LOGITS_OUTPUT, read_backbone_contract
from co2net_runtime.cli import console
from co2net_runtime.errors import InputError

NAMES = Path(__file__).with_name("kinetics400.txt")


@click.command("kinetics_classes", cls=console.Command)
@click.argument("backbone", type=click.Path(path_type=Path))
@click.argument("clip", type=click.Path(path_type=Path))
@click.option("--top", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--snippets", type=click.IntRange(min=1), default=6, show_default=True)
def main(backbone: Path, clip: Path, top: int, snippets: int) -> None:
    """Print the likeliest classes of CLIP, by the mean scores of its snippets."""
    names = NAMES.read_text(encoding="utf-8").splitlines()
    contract = read_backbone_contract(backbone)
    if contract.classes != len(names):
        raise InputError(
            f"{backbone}: scores {contract.classes} classes, expected the {len(names)} of "
            "Kinetics-400: write it with co2net-backbone --logits"
        )
    session = open_session(backbone)
    clips = video_clips([clip], contract, count=snippets)
    scores = [session.run([LOGITS_OUTPUT], {CLIPS_INPUT: each[None]})[0][0] for each in clips]
    shares = softmax(np.mean(scores, axis=0))
    console.note(f"{clip}: mean of {len(scores)} snippets, {contract.weights}")
    for index in np.argsort(-shares)[:top]:
        click.echo(f"{shares[index]:6.3f}  {names[index]}")


def softmax(scores: np.ndarray) -> np.ndarray:
    """Return scores (C,) as probabilities."""
    powers = np.exp(scores - scores.max())
    result: np.ndarray = powers / powers.sum()
    return result


if __name__ == "__main__":
    main()
