"""All engines on this CPU, in turns: what "auto" and docs/performance.md rest on.

    python benchmarks/studies/cpu_engines.py FP32.onnx INT8.onnx --cpu CPU.onnx --checkpoint CKPT

Every setup is run once, then the next one, and so on, so that other programs disturb all of them
alike. Processor seconds of the process are given beside the wall time: on a busy machine only they
compare. A setup at bf16 or int8 is compared with peers of its own class.

A machine may be quiet for minutes only: `--keep FILE` adds each run's rows to those of earlier
runs, say of other lengths, and prints all of them.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from co2net_benchmarks.inputs import planted_features
from co2net_benchmarks.runners.runners import RUNNERS
from co2net_benchmarks.tables import Table
from co2net_benchmarks.timing import percentile
from co2net_runtime.backends import EngineOptions
from co2net_runtime.backends.selection import SHORT
from co2net_runtime.cli import console
from co2net_runtime.errors import Co2netError
from co2net_runtime.features import Features
from co2net_runtime.files.atomic import write_text
from co2net_runtime.network.network import Network

WORK = ("1", "8", "16", "50", "64", "250", "750", "2000", "4000", "8x50-100", "16x2-64")
FEATURE_DIM = 2048
_PAUSE_S = 0.06  # between two runs: threads that spin would disturb the next one
_BURST = 200  # snippets in a turn
Run = Callable[[Sequence[Features]], Any]
Times = dict[str, dict[str, tuple[float, float]]]  # by work and setup: wall, processor ms


def setups(
    fp32: Path, int8: Path, cpu: Path | None, checkpoint: Path | None, threads: int | None
) -> dict[str, Run]:
    """Open what is installed; a setup that cannot be opened is said and left out."""
    wanted: list[tuple[str, str, Path | None, dict[str, Any]]] = [
        ("fp32: PyTorch eager", "torch", checkpoint, {}),
        ("fp32: ONNX Runtime alone", "onnxruntime", fp32, {}),
        ("fp32: OpenVINO alone, told f32", "openvino-f32", fp32, {}),
        ("fp32: ours", "ours", fp32, {}),
        ("fp32: ours, --optimize cpu", "ours", cpu, {}),
        ("bf16: OpenVINO's default", "openvino", fp32, {}),
        ("bf16: ours", "ours", fp32, {"bf16": True}),
        ("int8: ONNX Runtime alone", "onnxruntime", int8, {}),
        ("int8: OpenVINO alone, told f32", "openvino-f32", int8, {}),
        ("int8: ours", "ours", int8, {}),
        ("int8 and bf16: OpenVINO's default", "openvino", int8, {}),
        ("int8 and bf16: ours", "ours", int8, {"bf16": True}),
    ]
    opened: dict[str, Run] = {}
    for name, kind, path, engine in wanted:
        if path is None:
            continue
        try:
            options = EngineOptions(device="cpu", threads=threads, **engine)
            opened[name] = _ours(path, options) if kind == "ours" else _alone(kind, path, options)
        except (Co2netError, ImportError, RuntimeError) as error:
            console.note(f"{name}: {error}")
    return opened


def _alone(kind: str, path: Path, options: EngineOptions) -> Run:
    runner = RUNNERS[kind](path, options)
    return lambda videos: [runner.network(video) for video in videos]


def _ours(path: Path, options: EngineOptions) -> Run:
    """Return what "auto" takes for the lengths at hand, opened at first use."""
    opened: dict[bool, Network] = {}

    def run(videos: Sequence[Features]) -> Any:
        typical = sum(map(len, videos)) // len(videos)
        if (typical <= SHORT) not in opened:
            chosen = replace(options, typical_length=typical)
            opened[typical <= SHORT] = Network.open(path, chosen)
        return opened[typical <= SHORT].run(videos)

    return run


def videos_of(work: str) -> list[Features]:
    """Return planted videos: "50" is one of T = 50, "8x50-100" eight of 50 to 100."""
    count, _, lengths = work.rpartition("x")
    shortest, _, longest = lengths.partition("-")
    rng = np.random.default_rng(0)
    sizes = rng.integers(int(shortest), int(longest or shortest) + 1, size=int(count or 1))
    return [
        np.ascontiguousarray(planted_features(int(size), FEATURE_DIM, seed=0)) for size in sizes
    ]


def measure(
    opened: Mapping[str, Run], videos: Sequence[Features], turns: int
) -> dict[str, tuple[float, float]]:
    """Return median milliseconds by setup: wall time, processor time of all threads.

    Short videos run several times in a turn, one after another, as those of a folder do: the first
    one wakes the threads.
    """
    calls = max(1, min(20, _BURST // sum(map(len, videos))))
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in opened}
    for run in opened.values():
        run(videos)
    for _ in range(turns):
        for name, run in opened.items():
            time.sleep(_PAUSE_S)
            wall, used = time.perf_counter(), time.process_time()
            for _ in range(calls):
                run(videos)
            spent = (time.perf_counter() - wall, time.process_time() - used)
            times[name].append((spent[0] / calls, spent[1] / calls))
    return {
        name: (
            percentile([one[0] for one in found], 50) * 1e3,
            percentile([one[1] for one in found], 50) * 1e3,
        )
        for name, found in times.items()
    }


def tables(found: Times) -> str:
    """Return the table of times, and ours over the best peer of its class, as Markdown."""
    works = sorted(found, key=lambda work: (WORK.index(work) if work in WORK else -1, work))
    names = list(dict.fromkeys(name for work in works for name in found[work]))

    def cell(work: str, name: str) -> str:
        times = found[work].get(name)
        return "" if times is None else f"{times[0]:.1f} / {times[1]:.1f}"

    columns = ("setup", *(work if "x" in work else f"T = {work}" for work in works))
    times = Table(
        "Wall / processor ms",
        columns,
        tuple((name, *(cell(work, name) for work in works)) for name in names),
    )
    rows = []
    for name in names:
        kind, _, setup = name.partition(": ")
        if setup.startswith("ours"):
            peers = [one for one in names if one.startswith(f"{kind}: ") and ": ours" not in one]
            rows.append((name, *(_ratio(found[work], name, peers) for work in works)))
    ratios = Table("The best peer's wall time over ours", columns, tuple(rows))
    return f"{times.to_markdown()}\n\n{ratios.to_markdown()}\n"


def _ratio(times: Mapping[str, tuple[float, float]], name: str, peers: Sequence[str]) -> str:
    there = [times[peer][0] for peer in peers if peer in times]
    return f"{min(there) / times[name][0]:.2f}" if there and name in times else ""


@click.command("cpu-engines", cls=console.Command)
@click.argument("fp32", type=click.Path(path_type=Path))
@click.argument("int8", type=click.Path(path_type=Path))
@click.option("--cpu", type=click.Path(path_type=Path), help="File of --optimize cpu.")
@click.option("--checkpoint", type=click.Path(path_type=Path), help="For PyTorch.")
@click.option(
    "--work", multiple=True, default=WORK, show_default=True,
    help="Snippets of a video, or COUNTxSHORTEST-LONGEST, several videos.",
)  # fmt: skip
@click.option("--turns", type=click.IntRange(min=1), default=9, show_default=True)
@click.option("--threads", type=click.IntRange(min=1), help="[default: all cores]")
@click.option("--keep", type=click.Path(path_type=Path), help="FILE.json of all runs' times.")
@click.option("--out", type=click.Path(path_type=Path), help="Also write the tables as Markdown.")
def main(
    fp32: Path,
    int8: Path,
    cpu: Path | None,
    checkpoint: Path | None,
    work: tuple[str, ...],
    turns: int,
    threads: int | None,
    keep: Path | None,
    out: Path | None,
) -> None:
    """Time the network in every engine, in turns."""
    found: Times = {}
    if keep is not None and keep.exists():
        found = json.loads(keep.read_text(encoding="utf-8"))
    opened = setups(fp32, int8, cpu, checkpoint, threads)
    for one in work:
        videos = videos_of(one)
        snippets = sum(map(len, videos))
        found[one] = measure(opened, videos, max(2, min(turns, 6000 // snippets)))
        console.note(f"{one} done")
        if keep is not None:
            write_text(keep, json.dumps(found))
    text = tables(found)
    click.echo(text)
    if out is not None:
        write_text(out, text)


if __name__ == "__main__":
    main()
