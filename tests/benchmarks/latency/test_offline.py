"""The offline scenario."""

import pytest
from click.testing import CliRunner

from co2net_benchmarks.cli.group import main
from co2net_benchmarks.latency.run import LatencyResults
from co2net_benchmarks.run_file import read_runs
from co2net_runtime.files.records import from_mapping


@pytest.fixture(scope="module")
def measured(tiny):
    out = tiny.folder / "scenarios.json"
    arguments = [
        "latency", tiny.artefact, f"b={tiny.artefact}", "--mix", "thumos14", "--mix-videos", 20,
        "--no-gemm", "--threads", 1, "--out", out,
    ]  # fmt: skip
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.stderr
    (run,) = read_runs(out)
    return from_mapping(LatencyResults, run.results, "run"), result.stdout


def test_offline_works_through_the_whole_mix(measured):
    results, _ = measured
    first, second = results.offline
    assert first.videos == 20
    assert first.snippets == second.snippets > 1000
    assert first.segments == second.segments > 100
    assert first.realtime == pytest.approx(first.snippets * 0.64 / first.wall_s)
    assert (first.ratio.low, first.ratio.high) == (1, 1)
    assert results.lengths == results.cold_starts == ()


def test_offline_has_its_table(measured):
    _, text = measured
    assert "Offline: 20 videos" in text
