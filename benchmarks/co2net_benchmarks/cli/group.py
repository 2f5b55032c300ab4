"""co2net-bench: a group whose commands are imported when they are run."""

import importlib
from types import MappingProxyType

import click

from co2net_runtime.cli import console
from co2net_runtime.files.records import nearest

# NAME is the click command NAME in co2net_benchmarks.cli.NAME
COMMANDS = MappingProxyType(
    {
        "accuracy": "mAP of a predictions file or a model, its errors, changes from a baseline.",
        "parity": "Artefacts against the PyTorch model: tensors, decisions, mAP.",
        "describe": "What an ONNX file holds: contract, layers, weights, arithmetic.",
        "latency": "Time and memory of artefacts, of PyTorch and of other engines.",
        "report": "Measurements on one page with tables and charts; or two compared.",
        "runs": "Training runs side by side: settings that differ, loss, mAP.",
        "suite": "Parity, latency and their report in one go.",
    }
)


class _LazyGroup(console.Group):
    """Lists COMMANDS without importing them: --help is fast and needs none of their packages."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 click's signature
        return list(COMMANDS)

    def get_command(
        self,
        ctx: click.Context,
        cmd_name: str,
    ) -> click.Command | None:
        if cmd_name not in COMMANDS:
            raise click.UsageError(f"no command {cmd_name!r}{nearest(cmd_name, COMMANDS)}", ctx)
        module = importlib.import_module(f"co2net_benchmarks.cli.{cmd_name}")
        command = getattr(module, cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 click's signature
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command("co2net-bench", cls=_LazyGroup)
@console.version_option
def main() -> None:
    """Measure CO2-Net artefacts on this machine: accuracy, parity with PyTorch, speed, memory.

    Example: co2net-bench accuracy predictions.json data/
    """
