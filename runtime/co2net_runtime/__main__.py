"""python -m co2net_runtime: which commands there are for running models."""

import click

from co2net_runtime.cli import console
from co2net_runtime.cli.commands import list_commands


@click.command("python -m co2net_runtime", cls=console.Command)
@console.version_option
def main() -> None:
    """Print the commands that run models; python -m co2net prints all commands."""
    click.echo(list_commands("co2net_runtime"))


if __name__ == "__main__":
    main()
