"""How fast a video becomes segments: wall time, both streams, all cores, from file to file.

    python benchmarks/studies/video_pace.py model.onnx rgb.onnx flow.onnx
    python benchmarks/studies/video_pace.py model.onnx rgb.int8-cpu.onnx flow.int8-cpu.onnx

The machine must be quiet: wall time is measured. Pictures are rendered, and written as H.264. The
stages overlap, all but the head and the output, so that they add up to more than the time passed.
"""

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import click
import numpy as np
import torch

from co2net.backbone.i3d import I3D
from co2net_benchmarks.tables import Table
from co2net_runtime.backends import EngineOptions
from co2net_runtime.cli import console
from co2net_runtime.video.backbone import Backbone
from co2net_runtime.video.localizer import VideoLocalizer
from studies.video_speed import FRAMES, SIZES, SNIPPET_S, clip_of_pictures, write_clip

STAGES = ("decode", "resize", "flow", "rgb network", "flow network", "head", "output")


def pace(localizer: VideoLocalizer, video: Path, target: Path) -> dict[str, float]:
    """Localize one video and write its segments; return the seconds of each stage, and "all"."""
    extractor = localizer.extractor
    extractor.stages.seconds.clear()
    start = time.perf_counter()
    features = extractor(video)
    extracted = time.perf_counter()
    found = localizer.localizer(features)
    localized = time.perf_counter()
    target.write_text(json.dumps(found.to_records()))
    end = time.perf_counter()
    return {
        **extractor.stages.seconds,
        "head": localized - extracted,
        "output": end - localized,
        "all": end - start,
    }


def rendered(folder: Path, height: int, width: int, snippets: int) -> Path:
    """Return a rendered video, which is written where it is missing."""
    video = folder / f"{height}-{snippets}.mp4"
    if not video.exists():
        console.note(f"rendering {video}")
        folder.mkdir(parents=True, exist_ok=True)
        write_clip(video, height, width, snippets * FRAMES)
    return video


def typical(turns: list[dict[str, float]]) -> dict[str, float]:
    """Return the median of each stage over several turns."""
    return {stage: median(turn.get(stage, 0.0) for turn in turns) for stage in (*STAGES, "all")}


def stage_row(source: str, spent: dict[str, float], snippets: int) -> tuple[str, ...]:
    """Return a table's row: milliseconds of each stage for a snippet, and times real time."""
    figures = (f"{1000 * spent[stage] / snippets:.1f}" for stage in (*STAGES, "all"))
    return source, *figures, f"{SNIPPET_S * snippets / spent['all']:.2f}"


def in_turns(works: list[Callable[[], object]], turns: int) -> list[float]:
    """Return the median wall seconds of each work; they take turns, after one to warm up."""
    spent: list[list[float]] = [[] for _ in works]
    for turn in range(turns + 1):
        for work, times in zip(works, spent, strict=True):
            start = time.perf_counter()
            work()
            if turn:
                times.append(time.perf_counter() - start)
    return [median(times) for times in spent]


def against_torch(backbone: Backbone, turns: int) -> tuple[str, str, str]:
    """Return milliseconds of a clip in eager PyTorch and in the backbone, and their ratio."""
    levels = clip_of_pictures()
    model = I3D(3).eval()
    clip = torch.from_numpy((levels / 127.5 - 1).astype(np.float32)).permute(3, 0, 1, 2)[None]

    def eager() -> None:
        with torch.inference_mode():
            model.features(clip)

    reference, ours = in_turns([eager, partial(backbone.features, levels[None])], turns)
    return f"{1000 * reference:.0f}", f"{1000 * ours:.0f}", f"{reference / ours:.1f}"


@click.command("video_pace", cls=console.Command)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("rgb", type=click.Path(path_type=Path))
@click.argument("flow", type=click.Path(path_type=Path))
@click.option("--backend", default="openvino", show_default=True)
@click.option("--bf16", is_flag=True)
@click.option("--snippets", type=click.IntRange(min=1), default=20, show_default=True)
@click.option("--turns", type=click.IntRange(min=1), default=3, show_default=True)
@click.option(
    "--videos", type=click.Path(path_type=Path), default=Path("pace"), show_default=True,
    help="Folder that keeps the rendered videos.",
)  # fmt: skip
def main(
    model: Path,
    rgb: Path,
    flow: Path,
    backend: str,
    bf16: bool,
    snippets: int,
    turns: int,
    videos: Path,
) -> None:
    """Time MODEL behind the backbones RGB and FLOW, and RGB against eager PyTorch."""
    options = EngineOptions(backend=backend, device="cpu", bf16=bf16)  # type: ignore[arg-type]
    rows = []
    files = {size: rendered(videos, *size, snippets) for size in SIZES}
    with VideoLocalizer.load(model, rgb, flow, options, accept_mismatch=True) as localizer:
        for (height, width), video in files.items():
            pace(localizer, video, videos / "warm.json")
            spent = [pace(localizer, video, videos / "segments.json") for _ in range(turns)]
            rows.append(stage_row(f"{width} x {height}", typical(spent), snippets))
        engine = f"{localizer.extractor.rgb.engine}"
        against = against_torch(localizer.extractor.rgb, turns)
    head = ("source", *STAGES, "all", "times real time")
    title = f"Wall ms per snippet of {SNIPPET_S} s: {engine}"
    click.echo(Table(title, head, tuple(rows)).to_markdown())
    columns = ("RGB network, in turns", "PyTorch eager ms", "here ms", "times faster")
    click.echo(Table("Against PyTorch", columns, ((engine, *against),)).to_markdown())


if __name__ == "__main__":
    main()
