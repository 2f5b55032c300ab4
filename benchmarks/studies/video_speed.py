"""The cost of each stage from pixels to features: CPU seconds of one thread per snippet.

    python benchmarks/studies/video_speed.py rgb.onnx rgb.int8-cpu.onnx

Process CPU time, not wall time: other work on the machine hardly moves it. Pictures are rendered.
The networks take turns in one process; every one is timed at one thread.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
import numpy.typing as npt
import torch

from co2net.backbone.i3d import I3D
from co2net_benchmarks.tables import Table
from co2net_runtime.backends import EngineOptions
from co2net_runtime.cli import console
from co2net_runtime.video.backbone import Backbone
from co2net_runtime.video.decode import VideoReader
from co2net_runtime.video.flow import ALGORITHMS, FlowEstimator, gray
from co2net_runtime.video.resize import center_crop, resize, resized_size
from co2net_runtime.video.ticks import ticks

FRAMES, FPS, SHORT_SIDE, CROP = 16, 25, 256, 224
SNIPPET_S = FRAMES / FPS
SIZES = ((256, 340), (1080, 1920))  # height, width of the sources
FLOW_SHARE = 0.92  # multiplications of the flow network, of the RGB network's
SLOW = ("tvl1", "tvl1-half")  # of these, one pair of frames is enough
Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Cost:
    """CPU seconds of one stage for one snippet of one stream."""

    stage: str
    seconds: float


def cpu_seconds(work: Callable[[], object], turns: int) -> float:
    """Return the process CPU seconds of the cheapest of some turns, after one to warm up."""
    work()
    spent = []
    for _ in range(turns):
        start = time.process_time()
        work()
        spent.append(time.process_time() - start)
    return min(spent)


def picture(index: int, height: int, width: int) -> Image:
    """Return a frame (H, W, 3) of a textured scene that moves by about 2 pixels of 256."""
    y, x = np.mgrid[:height, :width].astype(np.float32) * np.float32(256 / height)
    x -= 2 * index
    waves = np.sin(x / 5) * np.cos(y / 7) + np.sin((x + 2 * y) / 23)
    return (128 + 50 * np.stack([waves, np.cos(x / 11), waves * 0.5], -1)).astype(np.uint8)


def clip_of_pictures() -> Image:
    """Return the levels (frames, crop, crop, 3) of a snippet."""
    return np.stack([center_crop(picture(index, *SIZES[0]), CROP) for index in range(FRAMES)])


def write_clip(path: Path, height: int, width: int, frames: int) -> None:
    """Write an H.264 file of moving pictures."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base = Fraction(1, FPS)
        stream.options = {"preset": "veryfast"}
        for index in range(frames):
            image = av.VideoFrame.from_ndarray(picture(index, height, width), format="rgb24")
            container.mux(stream.encode(image))
        container.mux(stream.encode())


def decoding_costs(path: Path, snippets: int, turns: int) -> tuple[Cost, Cost]:
    """Return the cost of decoding and preparing the frames of a file."""
    size = None

    def run(prepare: bool) -> None:
        nonlocal size
        with VideoReader(path) as video:
            for tick in ticks(video, FPS):
                if prepare:
                    image = tick.read()
                    size = size or resized_size(image.shape[0], image.shape[1], SHORT_SIDE)
                    gray(resize(image, size))

    bare = cpu_seconds(lambda: run(False), turns) / snippets
    whole = cpu_seconds(lambda: run(True), turns) / snippets
    return Cost("decode", bare), Cost("to R, G, B, resize, gray", whole - bare)


def flow_costs(turns: int) -> list[Cost]:
    """Return the cost of a snippet's flow, by algorithm, on 340 x 256."""
    grays = [gray(picture(index, *SIZES[0])) for index in range(FRAMES + 1)]
    costs = []
    for algorithm in ALGORITHMS:
        estimator = FlowEstimator(algorithm)
        few = algorithm in SLOW
        pairs = list(pairwise(grays))[: 1 if few else FRAMES]
        seconds = cpu_seconds(partial(_flows, estimator, pairs), 1 if few else turns)
        costs.append(Cost(algorithm, seconds * FRAMES / len(pairs)))
    return costs


def _flows(estimator: FlowEstimator, pairs: list[tuple[Image, Image]]) -> None:
    for first, second in pairs:
        estimator(first, second)


def network_costs(backbones: tuple[Path, ...], turns: int) -> list[Cost]:
    """Return the cost of a clip in the eager PyTorch network and in each backbone and engine."""
    levels = clip_of_pictures()
    torch.set_num_threads(1)
    model = I3D(3).eval()
    clip = torch.from_numpy((levels / 127.5 - 1).astype(np.float32)).permute(3, 0, 1, 2)[None]

    def eager() -> None:
        with torch.inference_mode():
            model.features(clip)

    costs = [Cost("PyTorch eager, fp32", cpu_seconds(eager, turns))]
    ways = (("onnxruntime", False), ("openvino", False), ("openvino", True))
    for path in backbones:
        for backend, bf16 in ways:
            options = EngineOptions(backend=backend, device="cpu", threads=1, bf16=bf16)  # type: ignore[arg-type]
            with Backbone.open(path, "rgb", options) as backbone:
                precision = backbone.contract.precision
                if bf16 and precision != "fp32":
                    continue
                name = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}[backend]
                seconds = cpu_seconds(partial(backbone.features, levels[None]), turns)
                costs.append(Cost(f"{name}, {'bf16' if bf16 else precision}", seconds))
    return costs


@click.command("video_speed", cls=console.Command)
@click.argument("backbones", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--turns", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--snippets", type=click.IntRange(min=1), default=6, show_default=True)
def main(backbones: tuple[Path, ...], turns: int, snippets: int) -> None:
    """Time decoding, flow, and RGB BACKBONES of full width; print the tables."""
    tables = []
    with TemporaryDirectory() as folder:
        rows, sources = [], {}
        for height, width in SIZES:
            console.note(f"decoding {width} x {height}")
            path = Path(folder) / f"{height}.mp4"
            write_clip(path, height, width, snippets * FRAMES)
            costs = decoding_costs(path, snippets, turns)
            rows += [(f"{width} x {height}: {cost.stage}", *_figures(cost)) for cost in costs]
            sources[f"{width} x {height}"] = sum(cost.seconds for cost in costs)
    tables.append(Table("Decoding, H.264 of 25 frames a second", _HEAD, tuple(rows)))
    console.note("flow")
    flows = flow_costs(turns)
    tables.append(
        Table("Optical flow, 340 x 256", _HEAD, tuple((c.stage, *_figures(c)) for c in flows))
    )
    console.note("networks")
    networks = network_costs(backbones, turns)
    eager = networks[0].seconds
    lines = tuple((c.stage, *_figures(c), f"{eager / c.seconds:.1f}") for c in networks)
    tables.append(Table("RGB network", (*_HEAD, "times PyTorch"), lines))
    tables.append(sums(sources, flows, networks))
    click.echo("\n\n".join(table.to_markdown() for table in tables))


def sums(sources: dict[str, float], flows: list[Cost], networks: list[Cost]) -> Table:
    """Return the cost of all stages together, for both streams with DIS flow at its fastest."""
    flow = next(cost.seconds for cost in flows if cost.stage == "dis-fast")
    rows = []
    for source, decoding in sources.items():
        for network in networks:
            total = decoding + flow + network.seconds * (1 + FLOW_SHARE)
            rows.append((f"{source}, {network.stage}", *_figures(Cost("", total))))
    return Table("All stages, both streams, dis-fast: the sum", _HEAD, tuple(rows))


_HEAD = ("stage", "CPU-s per snippet", "times real time, one core")


def _figures(cost: Cost) -> tuple[str, str]:
    return f"{cost.seconds:.4f}", f"{SNIPPET_S / cost.seconds:.1f}"


if __name__ == "__main__":
    main()
