"""The command line options of every command that takes a dataset."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from co2net.data.dataset import DatasetOptions

Function = TypeVar("Function", bound=Callable[..., Any])

_PATH = click.Path(path_type=Path)

_SOURCE_OPTIONS = (
    click.option(
        "--annotations", type=_PATH, metavar="PATH",
        help="ActivityNet-style JSON or a bundle's annotation folder. Default: found in DATA.",
    ),
    click.option(
        "--rgb", type=_PATH, metavar="DIR",
        help="Folder of per-video RGB features, with --flow. Default: found in DATA.",
    ),
    click.option("--flow", type=_PATH, metavar="DIR", help="Folder of per-video flow features."),
    click.option(
        "--rgb-dim", type=click.IntRange(min=1), metavar="N",
        help="Channels that are RGB where one file holds both streams, RGB first. Default: as "
        "DATA says, or half.",
    ),
    click.option(
        "--key", metavar="NAME",
        help="Array to take from .npz files. Default: the only one, or rgb and flow.",
    ),
    click.option(
        "--average-crops", is_flag=True,
        help="Average features (T, crops, D) over the crops.",
    ),
    click.option(
        "--classes", type=_PATH, metavar="FILE",
        help="Class names in index order, one a line. Default: as DATA says, or its labels sorted.",
    ),
    click.option(
        "--stride", "snippet_frames", type=click.IntRange(min=1), metavar="FRAMES",
        help="Frames from one snippet to the next. Default: as DATA says, or 16.",
    ),
    click.option(
        "--fps", type=click.FloatRange(min=0, min_open=True), metavar="N",
        help="Frame rate that the features were extracted at, for all videos. Default: as DATA "
        "says, for each video where it does, or 25.",
    ),
    click.option(
        "--offset-frames", type=click.IntRange(min=0), metavar="FRAMES",
        help="Frame at which the first snippet stands: for windows longer than the stride, half "
        "the difference. Default: as DATA says, or 0.",
    ),
)  # fmt: skip

_SUBSET_OPTIONS = (
    click.option(
        "--train-subset", metavar="NAME",
        help="Subset to train on. Default: training or train, else validation (THUMOS14).",
    ),
    click.option(
        "--test-subset", metavar="NAME",
        help="Subset to test on. Default: validation beside training, else test.",
    ),
)  # fmt: skip


# headings on the help page of a command that has these options
DATASET_GROUPS = {
    "Data": "--annotations --rgb --flow --rgb-dim --key --average-crops --classes "
    "--train-subset --test-subset",
    "Timing of the features": "--stride --fps --offset-frames",
}


def dataset_options(command: Function) -> Function:
    """Add the options to a click command; it gets them as `dataset_options: DatasetOptions`.

    The command's own argument names the dataset: open_dataset(DATA, dataset_options).
    """
    return _add_options(command, _SOURCE_OPTIONS + _SUBSET_OPTIONS)


def source_options(command: Function) -> Function:
    """Add the options without the two subsets, for a command that looks at one or at all."""
    return _add_options(command, _SOURCE_OPTIONS)


def _add_options(
    command: Function, options: tuple[Callable[[Callable[..., Any]], Callable[..., Any]], ...]
) -> Function:
    @functools.wraps(command)
    def wrapped(*args: Any, **values: Any) -> Any:
        names = [name for name in DatasetOptions.__dataclass_fields__ if name in values]
        chosen = {name: values.pop(name) for name in names}
        return command(*args, dataset_options=DatasetOptions(**chosen), **values)

    decorated: Any = wrapped
    for option in reversed(options):
        decorated = option(decorated)
    result: Function = decorated
    return result
