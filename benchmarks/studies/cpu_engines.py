"""All engines on this CPU, in turns: what "auto" and docs/performance.md rest on.

    python benchmarks/studies/cpu_engines.py FP32.onnx INT8.onnx --cpu CPU.onnx --checkpoint CKPT

Every setup is run once, then the next one, and so on, so that other programs disturb all of them
alike. Processor seconds of the process are given beside the wall time: on a busy machine only they
compare. A setup at bf16 or int8 is compared with peers of its own class.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np

from co2net_benchmarks.inputs import planted_features
from co2net_benchmarks.runners.runners import RUNNERS
from co2net_benchmarks.tables import Table
from co2net_benchmarks.timing import percentile
from co2net_runtime.backends import EngineOptions
from co2net_runtime.cli import console
from co2net_runtime.errors import Co2netError
from co2net_runtime.features import Features
from co2net_runtime.files.atomic import write_text

LENGTHS = (1, 8, 50, 250, 750, 2000, 4000)
_PAUSE_S = 0.02  # between two runs: threads that spin would disturb the next one
Run = Callable[[Features], Any]


def setups(
    fp32: Path, int8: Path, cpu: Path | None, checkpoint: Path | None, threads: int | None
) -> dict[str, Run]:
    """Open what is installed; a setup that cannot be opened is said and left out."""
    wanted: list[tuple[str, str, Path | None, dict[str, Any]]] = [
        ("PyTorch eager", "torch", checkpoint, {}),
        ("fp32, ONNX Runtime alone", "onnxruntime", fp32, {}),
        ("fp32, OpenVINO alone told f32", "openvino-f32", fp32, {}),
        ("fp32, ours, ONNX Runtime", "runtime", fp32, {"backend": "onnxruntime"}),
        ("fp32, ours, OpenVINO", "runtime", fp32, {"backend": "openvino"}),
        ("--optimize cpu, ours, ONNX Runtime", "runtime", cpu, {"backend": "onnxruntime"}),
        ("--optimize cpu, ours, OpenVINO", "runtime", cpu, {"backend": "openvino"}),
        ("bf16, OpenVINO's default", "openvino", fp32, {}),
        ("bf16, ours, OpenVINO", "runtime", fp32, {"backend": "openvino", "bf16": True}),
        ("int8, ONNX Runtime alone", "onnxruntime", int8, {}),
        ("int8, ours, ONNX Runtime", "runtime", int8, {"backend": "onnxruntime"}),
        ("int8, ours, OpenVINO", "runtime", int8, {"backend": "openvino"}),
        ("int8 and bf16, OpenVINO's default", "openvino", int8, {}),
        ("int8 and bf16, ours, OpenVINO", "runtime", int8, {"backend": "openvino", "bf16": True}),
    ]
    opened: dict[str, Run] = {}
    for name, kind, path, engine in wanted:
        if path is None:
            continue
        try:
            options = EngineOptions(device="cpu", threads=threads, **engine)
            opened[name] = RUNNERS[kind](path, options).network
        except (Co2netError, ImportError, RuntimeError) as error:
            console.note(f"{name}: {error}")
    return opened


def measure(
    opened: Mapping[str, Run], features: Features, turns: int
) -> dict[str, tuple[float, float]]:
    """Return median milliseconds by setup: wall time, processor time of all threads."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in opened}
    for run in opened.values():
        run(features)
    for _ in range(turns):
        for name, run in opened.items():
            time.sleep(_PAUSE_S)
            wall, used = time.perf_counter(), time.process_time()
            run(features)
            times[name].append((time.perf_counter() - wall, time.process_time() - used))
    return {
        name: (
            percentile([one[0] for one in found], 50) * 1e3,
            percentile([one[1] for one in found], 50) * 1e3,
        )
        for name, found in times.items()
    }


@click.command("cpu-engines", cls=console.Command)
@click.argument("fp32", type=click.Path(path_type=Path))
@click.argument("int8", type=click.Path(path_type=Path))
@click.option("--cpu", type=click.Path(path_type=Path), help="File of --optimize cpu.")
@click.option("--checkpoint", type=click.Path(path_type=Path), help="For PyTorch.")
@click.option("--length", "lengths", multiple=True, type=int, default=LENGTHS, show_default=True)
@click.option("--turns", type=click.IntRange(min=1), default=9, show_default=True)
@click.option("--threads", type=click.IntRange(min=1), help="[default: all cores]")
@click.option("--out", type=click.Path(path_type=Path), help="Also write the table as Markdown.")
def main(
    fp32: Path,
    int8: Path,
    cpu: Path | None,
    checkpoint: Path | None,
    lengths: tuple[int, ...],
    turns: int,
    threads: int | None,
    out: Path | None,
) -> None:
    """Time the network in every engine, a video a call, in turns."""
    opened = setups(fp32, int8, cpu, checkpoint, threads)
    feature_dim = 2048
    found = {}
    for length in lengths:
        features = np.ascontiguousarray(planted_features(length, feature_dim, seed=0))
        found[length] = measure(opened, features, max(2, min(turns, 6000 // length)))
        console.note(f"T = {length} done")
    rows = tuple(
        (name, *(f"{found[t][name][0]:.1f} / {found[t][name][1]:.1f}" for t in lengths))
        for name in opened
    )
    table = Table("Wall / processor ms a video", ("setup", *(f"T = {t}" for t in lengths)), rows)
    click.echo(table.to_markdown())
    if out is not None:
        write_text(out, table.to_markdown() + "\n")


if __name__ == "__main__":
    main()
