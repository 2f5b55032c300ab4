"""Offline and server scenarios."""

import math

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from co2net_benchmarks.cli.group import main
from co2net_benchmarks.latency.run import LatencyResults
from co2net_benchmarks.latency.server import arrival_times, predicted_rate, queue_latencies
from co2net_benchmarks.run_file import read_runs
from co2net_runtime.files.records import from_mapping

SECONDS = st.floats(0.001, 10)


@pytest.fixture(scope="module")
def measured(tiny):
    out = tiny.folder / "scenarios.json"
    arguments = [
        "latency", tiny.artefact, f"b={tiny.artefact}", "--scenario", "offline",
        "--scenario", "server", "--mix", "thumos14", "--mix-videos", 20, "--bound-ms", 600_000,
        "--server-queries", 20, "--no-gemm", "--threads", 1, "--out", out,
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
    assert first.joules_per_video_minute is None or first.joules_per_video_minute > 0
    assert results.lengths == results.cold_starts == ()


def test_server_confirms_its_rate_in_a_real_run(measured):
    results, _ = measured
    for row in results.server:
        assert 0 < row.rate_per_s <= row.predicted_per_s
        assert row.p99_s <= row.bound_s == 600  # so wide that no load of the machine matters
        assert 0 < row.utilisation <= 1
        assert row.queries == 20


def test_both_have_their_tables(measured):
    _, text = measured
    assert "Offline: 20 videos" in text
    assert "Server: Poisson arrivals, highest rate with p99 at most 600000 ms" in text


@given(st.lists(st.tuples(SECONDS, SECONDS), min_size=1, max_size=50))
def test_queue_is_first_come_first_served(pairs):
    """The closed form against a server that takes one query after the other."""
    gaps, service = np.array(pairs).T
    arrivals = np.cumsum(gaps)
    free = 0.0
    expected = []
    for arrival, duration in zip(arrivals, service, strict=True):
        free = max(free, arrival) + duration
        expected.append(free - arrival)
    np.testing.assert_allclose(queue_latencies(arrivals, service), expected, rtol=1e-9, atol=1e-9)


def test_arrivals_are_poisson_and_seeded():
    arrivals = arrival_times(20.0, 50_000, seed=1)
    gaps = np.diff(arrivals, prepend=0)
    assert gaps.mean() == pytest.approx(0.05, rel=0.02)
    assert gaps.std() == pytest.approx(0.05, rel=0.03)  # exponential: as wide as its mean
    np.testing.assert_array_equal(arrivals, arrival_times(20.0, 50_000, seed=1))


@pytest.mark.parametrize("services", [1.5, 3.0, 6.0])
def test_predicted_rate_follows_queueing_theory(services):
    """M/D/1 (Erlang): P(W <= t) = (1 - rho) sum over k <= t/s of (-x)^k / k! e^x, x = t - k s."""
    service = 0.01
    bound = services * service
    rate = predicted_rate(np.full(100, service), bound, seed=0)
    wait = bound - service
    terms = []
    for k in range(int(wait / service) + 1):
        x = rate * (wait - k * service)
        terms.append((-x) ** k / math.factorial(k) * math.exp(x))
    assert (1 - rate * service) * sum(terms) == pytest.approx(0.99, abs=0.003)


def test_predicted_rate_grows_with_the_bound_and_can_be_nothing():
    service = np.full(100, 0.01)
    rates = [predicted_rate(service, bound, seed=0) for bound in (0.012, 0.03, 0.1, 1.0)]
    assert rates == sorted(rates)
    assert 90 < rates[3] <= 100
    assert predicted_rate(service, 0.009, seed=0) == 0
