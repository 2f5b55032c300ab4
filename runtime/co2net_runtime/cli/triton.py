"""co2net-triton: an artefact -> a model in the repository of a Triton Inference Server."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from co2net_runtime.artefact.onnx_file import read_contract
from co2net_runtime.backends import EngineOptions
from co2net_runtime.backends.device import Device
from co2net_runtime.backends.selection import DEVICES, require_runnable
from co2net_runtime.cli import console
from co2net_runtime.cli.engine_options import ENGINE_GROUPS, engine_options, run_options
from co2net_runtime.cli.model_argument import check_model_argument
from co2net_runtime.errors import InputError
from co2net_runtime.files.hub import local_model
from co2net_runtime.network.network import GRAPH_USES
from co2net_runtime.serving.config import ServerOptions
from co2net_runtime.serving.repository import write_repository

EPILOG = """
\b
The server runs the model with this package, so install it there: pip install 'co2net[cpu]'.
Clients: co2net_runtime.TritonLocalizer, or any of the v2 protocol: features (1, T, D) float32 ->
segments (1, N, 2) in seconds, scores (1, N), labels (1, N). co2net-triton-probe looks after it.

\b
Examples:
  co2net-triton model.onnx repository/
  co2net-triton model.onnx repository/ --instances 8 --name actions
  co2net-triton model.fp16.onnx repository/ --device cuda --network-only
"""


@click.command("co2net-triton", cls=console.Command, epilog=EPILOG, option_groups=ENGINE_GROUPS)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--name", default="co2net", show_default=True, help="The model's on the server.")
@click.option(
    "--instances",
    type=click.IntRange(min=1),
    default=ServerOptions.instances,
    show_default=True,
    help="Processes that each hold the model (on GPUs: for each of them), with --threads each.",
)
@click.option(
    "--max-batch",
    type=click.IntRange(min=1),
    default=ServerOptions.max_batch,
    show_default=True,
    help="Requests that are run together.",
)
@click.option(
    "--max-queue",
    type=click.IntRange(min=1),
    default=ServerOptions.max_queue,
    show_default=True,
    help="Requests that may wait; more are refused at once.",
)
@click.option(
    "--queue-timeout",
    "queue_timeout_s",
    type=click.FloatRange(min=0.001),
    default=ServerOptions.queue_timeout_s,
    show_default=True,
    help="Seconds that a request may wait; then it is refused.",
)
@click.option(
    "--network-only",
    is_flag=True,
    help="Let Triton's own ONNX Runtime run the network, and clients decode (TritonLocalizer "
    "does). It falls back from TensorRT to CUDA to the CPU without telling clients.",
)
@click.option("--overwrite", is_flag=True, help="Replace a model of this name.")
@run_options
@console.quiet_option
@console.version_option
def main(
    model: Path,
    out: Path,
    name: str,
    network_only: bool,
    overwrite: bool,
    quiet: bool,
    instances: int,
    max_batch: int,
    max_queue: int,
    queue_timeout_s: float,
    **engine: Any,
) -> None:
    """Write MODEL into the repository OUT of a Triton Inference Server.

    Engine options say how the server runs it: one thread an instance and the CPU unless given;
    --device cuda stands for all GPUs of the server. Prints the model's folder.
    """
    console.log_to_stderr(quiet=quiet)
    check_model_argument(model, [str(out)])
    model = Path(local_model(model))
    if model.suffix == ".engine":
        raise InputError(
            f"{model}: an engine fits one GPU and TensorRT: give the ONNX file, and --backend "
            "tensorrt, which builds the server's own"
        )
    contract = read_contract(model)
    if contract.graph != "whole":
        raise InputError(f"{model}: the graph for {GRAPH_USES[contract.graph]}")
    options = engine_options(engine)
    options = replace(options, threads=options.threads or 1)
    options, gpus = _placed(options)
    if options.backend != "auto":
        require_runnable(contract, model, options.backend, Device.parse(options.device).kind)
    if network_only and options.backend not in ("auto", "onnxruntime", "onnxruntime-tensorrt"):
        raise click.UsageError("--network-only runs in Triton's ONNX Runtime")
    server = ServerOptions(instances, gpus, max_batch, max_queue, queue_timeout_s)
    write_repository(
        model, contract, out / name, options, server, network_only=network_only,
        overwrite=overwrite,
    )  # fmt: skip
    click.echo(out / name)


def _placed(options: EngineOptions) -> tuple[EngineOptions, tuple[int, ...] | None]:
    """Return options with a device, and the GPUs: () for all of the server, None for none.

    Raises InputError if the backend does not run there.
    """
    kinds = DEVICES.get(options.backend, ("cpu", "cuda"))
    device = kinds[0] if options.device == "auto" else options.device
    kind = Device.parse(device).kind
    if kind not in kinds:
        raise InputError(f"the backend {options.backend} runs on {' or '.join(kinds)}")
    gpus = None
    if kind == "cuda":
        gpus = (Device.parse(device).index,) if ":" in device else ()
    return replace(options, device=device), gpus
