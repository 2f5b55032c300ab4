"""Server scenario: the highest rate of queries that arrive at random and are answered in time."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from co2net_benchmarks.latency.single_stream import Advance
from co2net_benchmarks.runners.pool import Fleet, Member
from co2net_benchmarks.timing import percentile, required_samples

Seconds = npt.NDArray[np.float64]

_SIMULATED = 20_000
_RESOLUTION = 1.1
_ATTEMPTS = 6


@dataclass(frozen=True)
class ServerOptions:
    """bound_s: what p99 of the latency, queueing included, must keep. queries: of the run that
    confirms a rate; 662 let p99 stand. service_samples: timed runs that the first guess follows
    from. seed: of the arrivals.
    """

    bound_s: float = 0.5
    queries: int = required_samples(99)
    service_samples: int = 128
    seed: int = 0


@dataclass(frozen=True)
class ServerResult:
    """One target. rate_per_s: the highest confirmed rate of queries, 0 if none keeps the bound.

    p50_s, p99_s: of the latency at that rate, from arrival to answer, in a real run of `queries`
    (of the last rate tried, if none was confirmed). utilisation: share of the time the server was
    busy, by the mean service time. predicted_per_s: what Lindley's recursion over the measured
    service times gave.
    """

    target: str
    bound_s: float
    rate_per_s: float
    queries: int
    p50_s: float
    p99_s: float
    utilisation: float
    predicted_per_s: float
    service_mean_s: float
    service_p99_s: float


def arrival_times(rate_per_s: float, count: int, seed: int) -> Seconds:
    """Return the times of Poisson arrivals, (count,) ascending, in seconds from the start."""
    gaps = np.random.default_rng(seed).exponential(1 / rate_per_s, size=count)
    return np.cumsum(gaps)


def queue_latencies(arrivals: Seconds, service: Seconds) -> Seconds:
    """Return the time from arrival to answer of each query, (N,), one server, first come first.

    Lindley's recursion: a query begins when it has arrived and the one before is done. With S the
    running sum of service times, done[i] = S[i] + max over j <= i of (arrival[j] - S[j - 1]).
    """
    total = np.cumsum(service)
    done = total + np.maximum.accumulate(arrivals - (total - service))
    latencies: Seconds = done - arrivals
    return latencies


def predicted_rate(service: Seconds, bound_s: float, seed: int) -> float:
    """Return the highest rate whose simulated p99 keeps the bound; 0 if not even an idle server's.

    service: measured times, drawn from with replacement.
    """
    drawn = np.random.default_rng([seed, 1]).choice(service, size=_SIMULATED)
    if percentile(service.tolist(), 99) > bound_s:
        return 0.0
    low, high = 0.0, 1 / float(service.mean())
    for _ in range(30):
        rate = (low + high) / 2
        latencies = queue_latencies(arrival_times(rate, _SIMULATED, seed), drawn)
        kept = percentile(latencies.tolist(), 99) <= bound_s
        low, high = (rate, high) if kept else (low, rate)
    return low


def measure_server(
    fleet: Fleet, paths: Sequence[Path], options: ServerOptions, advance: Advance
) -> list[ServerResult]:
    """Find every member's rate, one after the other.

    paths: feature files that queries are drawn from. The measured service times give a first
    guess; a real run with Poisson arrivals confirms it, or bisection between rates that kept the
    bound and rates that did not goes on until they lie within a tenth of each other. advance:
    told after each member.
    """
    rng = np.random.default_rng(options.seed)
    chosen = rng.integers(len(paths), size=max(options.queries, options.service_samples))
    queries = [str(paths[index]) for index in chosen]
    results = []
    for _, result, _ in fleet.take_turns(lambda member: _measure(member, queries, options)):
        results.append(result)
        advance(1)
    return results


def _measure(member: Member, queries: Sequence[str], options: ServerOptions) -> ServerResult:
    answer = member.child.ask("run_each", paths=queries[: options.service_samples])
    service = np.array(answer["totals"])
    predicted = predicted_rate(service, options.bound_s, options.seed)
    latencies, kept, failed, rate = service, 0.0, float("inf"), predicted
    for _ in range(_ATTEMPTS if predicted else 0):
        arrivals = arrival_times(rate, options.queries, options.seed)
        files = list(queries[: options.queries])
        answer = member.child.ask("serve", paths=files, arrivals=arrivals.tolist())
        measured = np.array(answer["latencies"])
        if percentile(measured.tolist(), 99) <= options.bound_s:
            kept, latencies = rate, measured
        else:
            failed = rate
            latencies = latencies if kept else measured
        # the prediction is the most that the service times allow: once kept, it stands
        if kept * _RESOLUTION >= min(failed, predicted):
            break
        rate = (kept + failed) / 2
    mean = float(service.mean())
    return ServerResult(
        target=member.name,
        bound_s=options.bound_s,
        rate_per_s=kept,
        queries=options.queries,
        p50_s=percentile(latencies.tolist(), 50),
        p99_s=percentile(latencies.tolist(), 99),
        utilisation=kept * mean,
        predicted_per_s=predicted,
        service_mean_s=mean,
        service_p99_s=percentile(service.tolist(), 99),
    )
