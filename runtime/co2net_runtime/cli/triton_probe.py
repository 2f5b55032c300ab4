"""co2net-triton-probe: whether a served model infers."""

import click

from co2net_runtime.cli import console
from co2net_runtime.errors import Co2netError
from co2net_runtime.serving.probe import probe

EPILOG = """
\b
Examples:
  co2net-triton-probe localhost:8000
  co2net-triton-probe localhost:8000 --name actions --timeout 5 --reload
"""


@click.command("co2net-triton-probe", cls=console.Command, epilog=EPILOG)
@click.argument("address", metavar="HOST:PORT")
@click.option("--name", default="co2net", show_default=True, help="The model's on the server.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0.001),
    default=10.0,
    show_default=True,
    help="Seconds that an answer may take.",
)
@click.option(
    "--reload",
    is_flag=True,
    help="Have the server unload and load a model that does not infer, then try again; it must run "
    "with --model-control-mode=explicit.",
)
@console.quiet_option
@console.version_option
def main(address: str, name: str, timeout_s: float, reload: bool, quiet: bool) -> None:
    """Have every instance of a model on a Triton server infer: the exit code is 1 if one does not.

    Triton's own health checks say ready while the processes that hold the model are dead.
    """
    try:
        probe(address, name, timeout_s=timeout_s, reload=reload)
    except Co2netError as error:
        console.report_error("co2net-triton-probe", str(error))
        click.get_current_context().exit(console.EXIT_SOME_FAILED)
    console.note(f"{address}: {name} infers", quiet=quiet)
