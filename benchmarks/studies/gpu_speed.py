"""What a GPU makes of the files: speed where T repeats and where it changes, and what is computed.

    python benchmarks/studies/gpu_speed.py model.onnx model.fp16.onnx model.int8-trt.onnx

Each file runs in every engine of the GPU that takes it, the first one on the CPU, too: its results
are what all others are compared with. All setups see the same videos. A change of T costs some
engines a new plan of every convolution, so the lengths of THUMOS14's test videos come once in the
order of the data set, one by one, and once all together, as co2net-infer gives them to the network.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from co2net_benchmarks.hardware.machine import describe_machine
from co2net_benchmarks.inputs import LENGTH_MIXES, planted_features
from co2net_benchmarks.tables import Table, milliseconds
from co2net_benchmarks.timing import percentile
from co2net_runtime.backends import EngineOptions
from co2net_runtime.backends.options import BackendName
from co2net_runtime.backends.trt.profiles import TensorRtOptions
from co2net_runtime.cli import console
from co2net_runtime.errors import Co2netError, InputError
from co2net_runtime.features import Features
from co2net_runtime.files.atomic import output_file, write_text
from co2net_runtime.network.network import Network

LENGTHS = (50, 320, 750, 1500)
BACKENDS: tuple[BackendName, ...] = ("onnxruntime", "onnxruntime-tensorrt", "tensorrt")


@dataclass(frozen=True)
class Row:
    """One file in one engine."""

    setup: str  # the file, the engine, the device
    layers: str  # what the engine says of them
    repeated_s: tuple[float, ...]  # seconds a video, by LENGTHS, the same length again and again
    changing_s: float  # for the mix, one video after another
    together_s: float  # for the mix, given to the network at once
    cas: float  # largest difference from the CPU, relative to max(1, max |cas|)
    attention: float  # likewise, not relative


def setups(models: Sequence[Path], device: str) -> Iterator[tuple[Path, EngineOptions]]:
    """Yield every file with every engine, the reference first."""
    yield models[0], EngineOptions(device="cpu", backend="onnxruntime")
    for model in models:
        for backend in BACKENDS:
            yield model, EngineOptions(backend=backend, device=device)
        graphs = TensorRtOptions(cuda_graphs=True)
        yield model, EngineOptions(backend="tensorrt", device=device, tensorrt=graphs)


def measure(
    network: Network, name: str, videos: list[Features], repeats: int, reference: Network
) -> Row:
    """Time one opened model, and compare it with the reference."""
    dim = network.contract.feature_dim
    repeated = []
    cas = attention = 0.0
    for length in LENGTHS:
        features = planted_features(length, dim)
        times = [_seconds(network, [features]) for _ in range(repeats + 1)][1:]
        repeated.append(percentile(times, 50))
        (found,), (expected,) = network.run([features]), reference.run([features])
        scale = max(1.0, float(np.abs(expected.cas).max()))
        cas = max(cas, float(np.abs(found.cas - expected.cas).max()) / scale)
        attention = max(attention, float(np.abs(found.attention - expected.attention).max()))
    changing = sum(_seconds(network, [video]) for video in videos)
    network.run(videos)  # shapes of batches that come for the first time are planned
    together = _seconds(network, videos)
    return Row(name, network.layers, tuple(repeated), changing, together, cas, attention)


def _seconds(network: Network, videos: list[Features]) -> float:
    start = time.perf_counter()
    network.run(videos)
    return time.perf_counter() - start


def page(rows: Sequence[Row], problems: Sequence[str], videos: int) -> str:
    """Return the results as a Markdown page."""
    machine = describe_machine()
    speed = Table(
        "Milliseconds a video, the network with its copies",
        ("setup", *(f"T = {t}" for t in LENGTHS), f"{videos} videos in turn", "all at once"),
        tuple(
            (
                row.setup,
                *(milliseconds(one) for one in row.repeated_s),
                milliseconds(row.changing_s / videos),
                milliseconds(row.together_s / videos),
            )
            for row in rows
        ),
    )
    computed = Table(
        "What is computed",
        ("setup", "cas", "attention", "layers"),
        tuple(
            (row.setup, f"{row.cas:.1e}", f"{row.attention:.1e}", row.layers or "-") for row in rows
        ),
        notes=("cas, attention: the largest difference from the first file on the CPU.",),
    )
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    lines = [
        "# The network on a GPU",
        f"{', '.join(machine.gpus) or 'no GPU'}; {machine.cpu}; {versions}.",
        "Written by `python benchmarks/studies/gpu_speed.py`, medians where T repeats.",
        speed.to_markdown(),
        computed.to_markdown(),
        *(f"- not run: {one}" for one in problems),
    ]
    return "\n\n".join(lines) + "\n"


@click.command("gpu-speed", cls=console.Command)
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--device", default="cuda:0", show_default=True)
@click.option("--repeats", type=click.IntRange(min=1), default=30, show_default=True)
@click.option("--videos", type=click.IntRange(1, 212), default=64, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Also write the page here.")
def main(
    models: tuple[Path, ...], device: str, repeats: int, videos: int, out: Path | None
) -> None:
    """Time MODELS in every engine of a GPU, and compare what they compute with the CPU."""
    if out is not None:
        output_file(out, overwrite=True)
    rows: list[Row] = []
    problems: list[str] = []
    reference: Network | None = None
    mix: list[Features] = []
    for model, options in setups(models, device):
        recorded = ", recorded launches" if options.tensorrt.cuda_graphs else ""
        name = f"{model.name}, {options.backend}, {options.device}{recorded}"
        try:
            network = Network.open(model, options)
            if reference is None:
                reference = network
                dim = network.contract.feature_dim
                mix = [planted_features(t, dim) for t in LENGTH_MIXES["thumos14"][:videos]]
            if network.contract.feature_dim != reference.contract.feature_dim:
                raise InputError(f"{model}: reads other features than {models[0]}")
            rows.append(measure(network, name, mix, repeats, reference))
            console.note(name)
            if network is not reference:
                network.close()
        except Co2netError as error:
            if reference is None:
                raise
            problems.append(f"{name}: {error}")
            console.note(problems[-1])
    text = page(rows, problems, videos)
    click.echo(text, nl=False)
    if out is not None:
        write_text(out, text)


if __name__ == "__main__":
    main()
