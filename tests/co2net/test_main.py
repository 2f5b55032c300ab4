"""python -m co2net: all commands."""

from click.testing import CliRunner

from co2net.__main__ import main


def test_the_commands_of_all_packages_are_told():
    done = CliRunner().invoke(main, [])
    assert done.exit_code == 0
    found = {line.split()[0] for line in done.stdout.splitlines()[1:]}
    assert {"co2net-train", "co2net-export", "co2net-infer", "co2net-bench"} <= found
