"""The options that choose and tune the engine, the same for every command that opens a model."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from co2net_runtime.backends import EngineOptions
from co2net_runtime.backends.options import BACKENDS
from co2net_runtime.backends.trt.profiles import DEFAULT_PROFILES, Profile, TensorRtOptions
from co2net_runtime.cli import console
from co2net_runtime.errors import InputError

if TYPE_CHECKING:
    from co2net_runtime.artefact.contract import Contract

# an engine starts as many as it is told to, and fails without a word on too many
MOST_THREADS = 1024

Function = Callable[..., Any]

_CACHE = (
    click.option(
        "--cache",
        type=click.Path(path_type=Path),
        help="Folder of the engines built here.  [default: $CO2NET_CACHE, else ~/.cache/co2net]",
    ),
)
_BUILD = (
    click.option(
        "--profile",
        "profiles",
        multiple=True,
        metavar="MIN:OPT:MAX",
        help="TensorRT: shapes that the engine takes, each as BxT (videos x snippets); may be "
        "given several times.  [default: those of an engine that is there, else "
        f"{' '.join(map(str, DEFAULT_PROFILES))}]",
    ),
    click.option(
        "--tf32",
        is_flag=True,
        help="Let a GPU round the multiplications of fp32 models to 10 bits: faster, less exact.",
    ),
)
_CUDA_GRAPHS = (
    click.option(
        "--cuda-graphs",
        is_flag=True,
        help="TensorRT: pad to one of few lengths and replay recorded launches; for short videos.",
    ),
)
_RUN = (
    click.option(
        "--backend",
        type=click.Choice(BACKENDS),
        default="auto",
        show_default=True,
        help="Engine. auto: on a CPU the installed engine that measured fastest for such files, "
        "on a GPU ONNX Runtime; the results name it.",
    ),
    click.option(
        "--device",
        default="auto",
        show_default=True,
        help="cpu, cuda:0, ...; for OpenVINO also gpu (Intel). auto: the first GPU that the "
        "engine is made for, else the CPU.",
    ),
    click.option(
        "--threads",
        type=click.IntRange(1, MOST_THREADS),
        help="Threads of an operator on the CPU.  [default: all cores]",
    ),
    click.option(
        "--bf16",
        is_flag=True,
        help="Let the CPU round multiplications to bfloat16: faster, less exact. OpenVINO on "
        "processors with AVX512-BF16, AMX or Arm's BF16; ONNX Runtime on Arm.",
    ),
    click.option(
        "--no-memory-arena",
        "memory_arena",
        flag_value=False,
        default=True,
        help="ONNX Runtime: give memory back between videos; the peak is higher then.",
    ),
)


# headings on the help page of a command that has these options
ENGINE_GROUPS = {
    "Engine": "--backend --device --threads --batch --chunk --bf16 --no-memory-arena",
    "GPU": "--profile --cuda-graphs --tf32 --cache",
}


def build_options(function: Function) -> Function:
    """Add the options that an engine is built with."""
    return _add((*_BUILD, *_CACHE), function)


def run_options(function: Function) -> Function:
    """Add all options that choose and tune the engine; `engine_options` reads them."""
    return _add((*_RUN, *_CUDA_GRAPHS, *_BUILD, *_CACHE), function)


def engine_options(given: Mapping[str, Any]) -> EngineOptions:
    """Return the EngineOptions that the values of `run_options` stand for.

    Raises InputError for a profile or a combination that cannot be.
    """
    tensorrt = tensorrt_options(given["profiles"], cuda_graphs=given["cuda_graphs"])
    return EngineOptions(
        backend=given["backend"],
        device=given["device"],
        threads=given["threads"],
        memory_arena=given["memory_arena"],
        tf32=given["tf32"],
        bf16=given["bf16"],
        tensorrt=tensorrt,
        cache=given["cache"],
    )


def note_bf16(options: EngineOptions, contract: "Contract", *, quiet: bool) -> None:
    """Say so where it is not known what --bf16 does to the segments of a file."""
    if options.bf16 and "bf16" not in contract.parity:
        console.note(
            "how bfloat16 changes this file's segments was not judged when it was exported "
            "(co2net-export --bf16 does)",
            quiet=quiet,
        )


def tensorrt_options(profiles: tuple[str, ...], **others: Any) -> TensorRtOptions:
    """Return the options of TensorRT; profiles as the user wrote them.

    Raises InputError for a profile or a combination that cannot be.
    """
    parsed = tuple(Profile.parse(text) for text in profiles) or None
    try:
        return TensorRtOptions(profiles=parsed, **others)
    except ValueError as error:
        raise InputError(str(error)) from error


def _add(options: tuple[Callable[[Function], Function], ...], function: Function) -> Function:
    for option in reversed(options):
        function = option(function)
    return function
