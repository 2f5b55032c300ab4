"""The options of every command that extracts features from videos."""

from collections.abc import Callable
from pathlib import Path
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


def check_flow_algorithm(algorithm: FlowAlgorithm | None, flow: Path | None) -> None:
    """Raise click.UsageError for a flow algorithm without the backbone that reads its flow."""
    if algorithm is not None and flow is None:
        raise click.UsageError("--flow-algorithm needs --flow")
