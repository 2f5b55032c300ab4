"""When a clip shows which Kinetics-400 class: the RGB backbone's own classifier, no CO2-Net.

    python benchmarks/studies/kinetics_segments.py rgb.onnx clip.mp4 pages/

rgb.onnx is a backbone that co2net-backbone wrote with --logits. Nothing is trained: a segment is a
run of snippets whose class probability, averaged with the neighbors', is above a threshold.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt

from co2net_runtime.cli import console
from co2net_runtime.errors import InputError
from co2net_runtime.files.atomic import output_folder, write_text
from co2net_runtime.output.timeline import Bar, Timeline
from co2net_runtime.output.timeline_page import film_address, to_html
from co2net_runtime.video.decode import VideoReader
from co2net_runtime.video.extract import Extractor

NAMES = Path(__file__).with_name("kinetics400.txt")
Shares = npt.NDArray[np.float32]


@click.command("kinetics_segments", cls=console.Command)
@click.argument("backbone", type=click.Path(path_type=Path))
@click.argument("clip", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--threshold", type=click.FloatRange(0, 1), default=0.2, show_default=True,
    help="Lowest probability in a segment.",
)  # fmt: skip
@click.option(
    "--snippets", type=click.IntRange(min=1), default=500, show_default=True,
    help="Of the beginning that are looked at, at most; 500 are 5 minutes.",
)  # fmt: skip
def main(backbone: Path, clip: Path, folder: Path, threshold: float, snippets: int) -> None:
    """Print the segments of CLIP, the longest first, and draw FOLDER/CLIP.html."""
    page = output_folder(folder) / f"{clip.stem}.html"
    names = NAMES.read_text(encoding="utf-8").splitlines()
    with Extractor.open(backbone) as extractor, VideoReader(clip) as video:
        if extractor.rgb.contract.classes != len(names):
            raise InputError(
                f"{backbone}: scores {extractor.rgb.contract.classes} classes, expected the "
                f"{len(names)} of Kinetics-400: write it with co2net-backbone --logits"
            )
        snippet_s = extractor.extraction.timing.snippet_s
        clips = islice(extractor.clips(video), snippets)
        scores = [extractor.rgb.scores(each.rgb[None])[0] for each in clips]
    if not scores:
        raise InputError(f"{clip}: shorter than one snippet")
    shares = smoothed(softmax(np.stack(scores)))
    segments = sorted(find_segments(shares, threshold, snippet_s, names), key=_length, reverse=True)
    for bar in segments:
        click.echo(f"{bar.start_s:7.2f} s to {bar.end_s:7.2f} s  {bar.score:.2f}  {bar.label}")
    timeline = draw(clip.stem, shares, segments, threshold, snippet_s, names)
    write_text(page, to_html(timeline, film_address(clip, page)))
    console.note(f"{page}: open it in a browser; its curves are class probabilities")


def softmax(scores: Shares) -> Shares:
    """Return scores (T, C) as probabilities."""
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    result: Shares = powers / powers.sum(axis=1, keepdims=True)
    return result


def smoothed(shares: Shares) -> Shares:
    """Return the mean of each snippet (T, C) and its neighbors."""
    padded = np.pad(shares, ((1, 1), (0, 0)), mode="edge")
    result: Shares = (padded[:-2] + padded[1:-1] + padded[2:]) / np.float32(3)
    return result


def find_segments(
    shares: Shares, threshold: float, snippet_s: float, names: Sequence[str]
) -> Iterator[Bar]:
    """Yield the runs of snippets whose share (T, C) of a class reaches the threshold."""
    reached = np.pad(shares >= threshold, ((1, 1), (0, 0)))
    for label in np.flatnonzero(reached.any(axis=0)).tolist():
        edges = np.flatnonzero(np.diff(reached[:, label].astype(np.int8)))
        for start, end in edges.reshape(-1, 2):
            score = float(shares[start:end, label].mean())
            yield Bar(names[label], float(start * snippet_s), float(end * snippet_s), score)


def draw(
    video: str,
    shares: Shares,
    segments: Sequence[Bar],
    threshold: float,
    snippet_s: float,
    names: Sequence[str],
) -> Timeline:
    """Return the timeline of the classes that have a segment."""
    labels = tuple(dict.fromkeys(bar.label for bar in segments))
    curves = {label: shares[:, names.index(label)] for label in labels}
    highest = shares.max(axis=1)
    return Timeline(video, snippet_s, highest, threshold, labels, curves, tuple(segments))


def _length(bar: Bar) -> float:
    return bar.end_s - bar.start_s


if __name__ == "__main__":
    main()
