"""The likeliest Kinetics-400 classes of a clip: do weights and pixels fit together?

    python benchmarks/studies/kinetics_classes.py rgb.onnx clip.mp4

rgb.onnx is a backbone that co2net-backbone wrote with --logits.
"""

from itertools import islice
from pathlib import Path

import click
import numpy as np

from co2net_runtime.cli import console
from co2net_runtime.errors import InputError
from co2net_runtime.video.decode import VideoReader
from co2net_runtime.video.extract import Extractor

NAMES = Path(__file__).with_name("kinetics400.txt")


@click.command("kinetics_classes", cls=console.Command)
@click.argument("backbone", type=click.Path(path_type=Path))
@click.argument("clip", type=click.Path(path_type=Path))
@click.option("--top", type=click.IntRange(min=1), default=5, show_default=True)
@click.option(
    "--snippets", type=click.IntRange(min=1), default=100, show_default=True,
    help="Of the beginning that are looked at, at most.",
)  # fmt: skip
def main(backbone: Path, clip: Path, top: int, snippets: int) -> None:
    """Print the likeliest classes of CLIP, by the mean scores of its snippets."""
    names = NAMES.read_text(encoding="utf-8").splitlines()
    with Extractor.open(backbone) as extractor, VideoReader(clip) as video:
        if extractor.rgb.contract.classes != len(names):
            raise InputError(
                f"{backbone}: scores {extractor.rgb.contract.classes} classes, expected the "
                f"{len(names)} of Kinetics-400: write it with co2net-backbone --logits"
            )
        clips = islice(extractor.clips(video), snippets)
        scores = [extractor.rgb.scores(each.rgb[None])[0] for each in clips]
    if not scores:
        raise InputError(f"{clip}: shorter than one snippet")
    shares = softmax(np.mean(scores, axis=0))
    console.note(f"{clip}: mean of {len(scores)} snippets, {extractor.rgb.contract.weights}")
    for index in np.argsort(-shares)[:top]:
        click.echo(f"{shares[index]:6.3f}  {names[index]}")


def softmax(scores: np.ndarray) -> np.ndarray:
    """Return scores (C,) as probabilities."""
    powers = np.exp(scores - scores.max())
    result: np.ndarray = powers / powers.sum()
    return result


if __name__ == "__main__":
    main()
