"""co2net-engine: ONNX -> TensorRT engine, ahead of time, on the machine that will run it."""

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from co2net_runtime.artefact.backbone import BackboneContract
from co2net_runtime.artefact.contract import Contract
from co2net_runtime.backends import EngineOptions
from co2net_runtime.backends.device import Device
from co2net_runtime.backends.selection import ENGINE_SUFFIX, choose_device, require_runnable
from co2net_runtime.backends.trt.backend import open_tensorrt
from co2net_runtime.backends.trt.cache import (
    EngineRecord,
    cached_engine,
    engine_path,
    here,
    new_engine,
    read_any_contract,
    write_engine,
)
from co2net_runtime.backends.trt.cuda import Cuda
from co2net_runtime.backends.trt.profiles import for_clips, input_shapes
from co2net_runtime.cli import console
from co2net_runtime.cli.engine_options import build_options, tensorrt_options
from co2net_runtime.errors import InputError
from co2net_runtime.files.atomic import output_folder, sha256
from co2net_runtime.files.cache import unusable
from co2net_runtime.files.records import to_mapping
from co2net_runtime.network.chunks import chunk_graph_path

EPILOG = """
\b
Examples:
  co2net-engine model.onnx && co2net-infer model.onnx features/ --backend tensorrt
  co2net-engine model.fp16.onnx --profile 1x1:1x256:1x1024
  co2net-engine model.onnx --out model.engine && co2net-infer model.engine features/
  co2net-engine model.onnx --timing-cache orin-nx.cache
"""


@click.command("co2net-engine", cls=console.Command, epilog=EPILOG)
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="FILE.engine, with FILE.engine.json beside it.  [default: the cache folder, where "
    "co2net-infer --backend tensorrt finds it]",
)
@click.option("--device", default="cuda:0", show_default=True, help="The GPU to build for.")
@build_options
@click.option(
    "--hardware-compatible",
    is_flag=True,
    help="One engine for all GPUs from Ampere on; a little slower. Needs --out.",
)
@click.option(
    "--version-compatible",
    is_flag=True,
    help="Also run in later TensorRT of the same major version. Needs --out.",
)
@click.option(
    "--workspace-mib",
    type=click.IntRange(min=1),
    help="Scratch memory that the engine may use. Needs --out.  [default: all there is]",
)
@click.option(
    "--optimization-level",
    type=click.IntRange(0, 5),
    help="How much TensorRT tries: 2 builds faster on a small board, 5 may run faster. Needs "
    "--out.  [default: TensorRT's, 3]",
)
@click.option(
    "--timing-cache",
    type=click.Path(path_type=Path),
    help="Measurements of kernels: read if it is there, then written. With one file all boards of "
    "a kind build faster.  [default: this GPU's in the cache folder]",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was built as JSON lines.")
@console.quiet_option
@console.version_option
def main(
    model: Path,
    out: Path | None,
    device: str,
    profiles: tuple[str, ...],
    tf32: bool,
    cache: Path | None,
    as_json: bool,
    quiet: bool,
    **others: Any,
) -> None:
    """Build the TensorRT engine of MODEL for this machine's GPU.

    MODEL is an ONNX file of co2net-export or co2net-backbone; a backbone's profiles count clips, B
    of BxT. It takes a minute or more. The file alone decides the precision. If the chunk graph lies
    beside a model, its engine is built, too: longer videos need it. Prints the engines' paths.
    """
    given = [name for name, value in others.items() if value is not None and value is not False]
    if others["timing_cache"] is not None:
        output_folder(others["timing_cache"].parent)
        given.remove("timing_cache")
    if out is None and given:
        raise click.UsageError(f"--{given[0].replace('_', '-')} needs --out FILE.engine")
    if out is not None:
        if out.suffix != ENGINE_SUFFIX:
            raise InputError(f"{out}: expected a name that ends in {ENGINE_SUFFIX}")
        output_folder(out.parent)
    console.log_to_stderr(quiet=quiet)
    options = EngineOptions(tf32=tf32, tensorrt=tensorrt_options(profiles, **others), cache=cache)
    place = choose_device("tensorrt", device)
    for graph, engine in _graphs(model, out):
        path, record = build_ahead(graph, engine, place, options)
        if as_json:
            click.echo(json.dumps({"path": str(path), **to_mapping(record)}))
        else:
            click.echo(path)


def _graphs(model: Path, out: Path | None) -> list[tuple[Path, Path | None]]:
    """Return the model and its chunk graph, if there is one, each with its engine's file."""
    graphs = [(model, out)]
    chunks = chunk_graph_path(model)
    contract = read_any_contract(model)
    whole = isinstance(contract, Contract) and contract.graph == "whole"
    if whole and chunks.is_file():
        graphs.append((chunks, None if out is None else chunk_graph_path(out)))
    return graphs


def build_ahead(
    model: Path, out: Path | None, device: Device, options: EngineOptions
) -> tuple[Path, EngineRecord]:
    """Build an engine into a file or the cache folder, run it once, and return what it is.

    Raises InputError if the model or the folder cannot be used, MissingDependencyError without
    TensorRT, BackendError if TensorRT refuses.
    """
    contract = read_any_contract(model)
    require_runnable(contract, model, "tensorrt", device.kind)
    if isinstance(contract, BackboneContract):
        options = replace(options, tensorrt=for_clips(options.tensorrt))
    target = here(device)
    with closing(Cuda(device.index)):  # selects the GPU that is built for
        if out is None:
            # these profiles, whatever engines there are already
            build = options.tensorrt
            options = replace(options, tensorrt=replace(build, profiles=build.to_build))
            path = engine_path(model, sha256(model), options, target)
            if problem := unusable(path.parent):
                raise InputError(f"{path.parent}: {problem}: give --cache or --out")
            cached_engine(model, options, target)
        else:
            path = out
            write_engine(path, *new_engine(model, options, target))
    with open_tensorrt(path, device, EngineOptions()) as engine:
        smallest = engine.profiles[0].batch[0], engine.profiles[0].length[0]
        shapes = input_shapes(contract, *smallest)
        engine.infer(
            {
                name: np.ones(shape, np.int64 if name == "lengths" else np.float32)
                for name, shape in shapes.items()
            }
        )
        return path, engine.record
