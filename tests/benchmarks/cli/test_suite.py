"""co2net-bench suite, and what all its commands have in common."""

import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from co2net_benchmarks.cli.group import COMMANDS, main
from co2net_benchmarks.run_file import read_runs


def test_suite_leaves_runs_and_report(tiny, tmp_path):
    out = tmp_path / "out"
    arguments = [
        "suite", tiny.checkpoint, tiny.artefact, "--quick", "--no-baselines", "--lengths", "5",
        "--threads", 1, "--quiet", "--out", out,
    ]  # fmt: skip
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.stderr
    assert {path.name for path in out.iterdir()} == {
        "parity.json", "latency.json", "report.html", "report.json", "report.md", "report.png",
    }  # fmt: skip
    assert [run.kind for run in read_runs(out / "report.json")] == ["parity", "latency"]
    report = (out / "report.md").read_text()
    (ours,) = [line for line in report.splitlines() if line.startswith("| tiny.onnx | fp32 |")][:1]
    assert ours.endswith("| passed |")
    for title in ("Parity with tiny.ckpt", "One video of 5 snippets", "Offline: 8 videos"):
        assert title in report
    # a report is made where the runs are read, not where they were measured
    program = (
        "import sys; sys.modules.update(dict.fromkeys(('torch', 'onnx', 'onnxruntime')));"
        "from co2net_benchmarks.cli.group import main; main()"
    )
    runs = [out / "parity.json", out / "latency.json"]
    subprocess.run(
        [sys.executable, "-c", program, "report", *runs, "-o", tmp_path / "again.html"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
    )
    assert (tmp_path / "again.md").read_text() == report


def test_suite_tells_of_missing_files_before_the_work(tiny, tmp_path):
    out = tmp_path / "out"
    arguments = ["suite", tiny.checkpoint, "missing.onnx", "--quick", "--out", out]
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 2
    assert "missing.onnx: no such file" in result.stderr
    assert not out.exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example_and_a_version(command):
    result = CliRunner().invoke(main, [command, "--help"])
    assert result.exit_code == 0
    assert f"co2net-bench {command} " in result.stdout.partition("Example")[2]
    version = CliRunner().invoke(main, [command, "--version"])
    assert version.exit_code == 0


def test_a_mistyped_command_suggests_the_right_one():
    result = CliRunner().invoke(main, ["repot"])
    assert result.exit_code == 2
    assert result.stderr == (
        "co2net-bench: error: no command 'repot' (did you mean 'report'?) "
        "(see 'co2net-bench --help')\n"
    )
