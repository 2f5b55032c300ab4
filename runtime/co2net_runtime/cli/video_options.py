"""The options of every command that extracts features from videos."""

from collections.abc import Callable
from typing import Any, get_args

import click

from co2net_runtime.artefact.backbone import FlowAlgorithm

Function = Callable[..., Any]

_OPTIONS = (
    click.option(
        "--flow-algorithm",
        type=click.Choice(get_args(FlowAlgorithm)),
        help="Videos: how the flow is computed.  [default: as the flow backbone says]",
    ),
    click.option(
        "--accept-mismatch",
        is_flag=True,
        help="Videos: go on where weights, flow, timing or precision are not those that the model "
        "or the flow backbone was made for.",
    ),
)


def video_options(function: Function) -> Function:
    """Add --flow-algorithm and --accept-mismatch."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function
