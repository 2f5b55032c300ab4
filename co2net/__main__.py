"""python -m co2net: which commands there are."""

import click

from co2net_runtime.cli import console
from co2net_runtime.cli.commands import list_commands


@click.command("python -m co2net", cls=console.Command)
@console.version_option
def main() -> None:
    """Print all commands of co2net."""
    click.echo(list_commands())


if __name__ == "__main__":
    main()
