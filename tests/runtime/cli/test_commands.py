"""python -m co2net_runtime: which commands there are for running models."""

from click.testing import CliRunner

import co2net_runtime.__main__
from co2net_runtime.cli import commands


def test_the_commands_that_run_models_are_told():
    done = CliRunner().invoke(co2net_runtime.__main__.main, [])
    assert done.exit_code == 0
    found = [line.split(maxsplit=1) for line in done.stdout.splitlines()[1:]]
    assert {"co2net-infer", "co2net-engine", "co2net-doctor"} <= {name for name, _ in found}
    assert "co2net-train" not in done.stdout
    assert dict(found)["co2net-infer"].startswith("Localize actions in FEATURES")


def test_a_command_that_cannot_start_here_is_told(monkeypatch):
    class Script:
        group, name, value = "console_scripts", "co2net-x", "x:main"

        def load(self):
            raise ImportError("No module named 'torch'")

    class Installed:
        entry_points = (Script(),)

    monkeypatch.setattr(commands, "distribution", lambda _: Installed())
    assert "co2net-x  cannot start here: No module named 'torch'" in commands.list_commands()


def test_without_an_installation_it_is_one_line(monkeypatch):
    def missing(name):
        raise commands.PackageNotFoundError(name)

    monkeypatch.setattr(commands, "distribution", missing)
    done = CliRunner().invoke(co2net_runtime.__main__.main, [])
    assert done.exit_code == 2
    assert "pip install 'co2net[cpu]'" in done.stderr
