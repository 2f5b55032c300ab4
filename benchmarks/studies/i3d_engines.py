"""One clip of an I3D backbone in all engines on this CPU, in turns, both cores.

python benchmarks/studies/i3d_engines.py RGB.onnx RGB.int8-cpu.onnx --out i3d.md
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import torch

from co2net.backbone.i3d import I3D
from co2net_benchmarks.tables import Table
from co2net_benchmarks.timing import percentile
from co2net_runtime.backends import EngineOptions
from co2net_runtime.backends.ort.module import load_onnxruntime
from co2net_runtime.backends.ov import load_openvino
from co2net_runtime.cli import console
from co2net_runtime.files.atomic import write_text
from co2net_runtime.video.backbone import Backbone

_PAUSE_S = 0.06  # between two runs: threads that spin would disturb the next one
Clip = npt.NDArray[np.float32]
Run = Callable[[npt.NDArray[np.uint8], Clip], Any]


def setups(fp32: Path, int8: Path) -> dict[str, Run]:
    """Return what runs a clip, as levels (1, T, H, W, 3) and as the graphs take it."""
    model = I3D(3).eval()

    def eager(_: object, clip: Clip) -> object:
        with torch.inference_mode():
            return model.features(torch.from_numpy(clip))

    return {
        "fp32: PyTorch eager": eager,
        "fp32: ONNX Runtime alone": _onnxruntime(fp32),
        "fp32: OpenVINO alone, told f32": _openvino(fp32, "f32"),
        "fp32: ours": _ours(fp32),
        "bf16: OpenVINO's default": _openvino(fp32, None),
        "bf16: ours": _ours(fp32, bf16=True),
        "int8: ONNX Runtime alone": _onnxruntime(int8),
        "int8: OpenVINO alone, told f32": _openvino(int8, "f32"),
        "int8: ours": _ours(int8),
    }


def _onnxruntime(path: Path) -> Run:
    session = load_onnxruntime().InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda _, clip: session.run(["features"], {name: clip})


def _openvino(path: Path, precision: str | None) -> Run:
    config = {} if precision is None else {"INFERENCE_PRECISION_HINT": precision}
    request = load_openvino().Core().compile_model(str(path), "CPU", config).create_infer_request()
    return lambda _, clip: request.infer([clip])["features"]


def _ours(path: Path, *, bf16: bool = False) -> Run:
    backbone = Backbone.open(path, "rgb", EngineOptions(device="cpu", bf16=bf16))
    return lambda levels, _: backbone.features(levels)


@click.command("i3d-engines", cls=console.Command)
@click.argument("fp32", type=click.Path(path_type=Path))
@click.argument("int8", type=click.Path(path_type=Path))
@click.option("--turns", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Also write the table as Markdown.")
def main(fp32: Path, int8: Path, turns: int, out: Path | None) -> None:
    """Time one clip of 16 frames in every engine, in turns."""
    levels = np.random.default_rng(0).integers(0, 256, (1, 16, 224, 224, 3), dtype=np.uint8)
    clip = np.ascontiguousarray((levels / 127.5 - 1).astype(np.float32).transpose(0, 4, 1, 2, 3))
    opened = setups(fp32, int8)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in opened}
    for turn in range(turns + 1):
        for name, run in opened.items():
            time.sleep(_PAUSE_S)
            wall, used = time.perf_counter(), time.process_time()
            run(levels, clip)
            if turn:  # the first one allocates
                times[name].append((time.perf_counter() - wall, time.process_time() - used))
    rows = tuple(
        (name, *(f"{percentile([one[i] for one in found], 50) * 1e3:.0f}" for i in (0, 1)))
        for name, found in times.items()
    )
    text = Table("One clip", ("setup", "wall ms", "processor ms"), rows).to_markdown()
    click.echo(text)
    if out is not None:
        write_text(out, text + "\n")


if __name__ == "__main__":
    main()
