"""The cost of a snippet of a live stream, and whether it stays the same.

    python benchmarks/studies/live_cost.py MODEL.onnx --snippets 100000

Pushes random snippets one by one, to one stream and to 16 in the same tick, and compares the first
and the last part of each run: neither time nor memory may grow with the stream.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from co2net_benchmarks.tables import Table
from co2net_benchmarks.timing import percentile
from co2net_runtime.backends import EngineOptions
from co2net_runtime.cli import console
from co2net_runtime.files.atomic import write_text
from co2net_runtime.live.pool import LivePool

WARM_UP = 20
# shares of the time between two snippets that a tick may use (2 cores, fp32, full size)
TARGETS = {1: 0.015, 16: 0.08}


@dataclass(frozen=True)
class LiveCost:
    """Cost of a tick of `streams` streams, in seconds."""

    streams: int
    ticks: int
    p50_s: float  # wall time of all ticks, as p99_s
    p99_s: float
    first_p50_s: float  # of the first tenth
    last_p50_s: float  # of the last tenth
    cpu_s: float  # processor time per tick, of all threads
    share: float  # p50 over the time between two snippets
    state_bytes: tuple[int, int]  # of all streams after the first tenth and at the end
    resident_bytes: tuple[int, int]  # of the process then; 0 where the system does not say


def measure(pool: LivePool, streams: int, ticks: int, *, quiet: bool = False) -> LiveCost:
    """Push one random snippet to each of `streams` streams, `ticks` times."""
    rng = np.random.default_rng(0)
    width = pool.contract.feature_dim
    # enough snippets that components open and close; drawn beforehand, not part of the time
    drawn = np.abs(rng.standard_normal((997, width), dtype=np.float32)) * 0.5
    names = [f"{streams}-{index}" for index in range(streams)]

    def tick(number: int) -> None:
        pool.push({name: drawn[(number + 61 * k) % 997] for k, name in enumerate(names)})

    for number in range(WARM_UP):
        tick(number)
    # filled beforehand: the memory of the samples must not look like that of the streams
    samples = np.full(ticks, np.nan)
    sizes: list[int] = []
    resident: list[int] = []
    tenth = max(1, ticks // 10)
    begun = time.process_time()
    with console.progress(range(ticks), f"{streams} streams", quiet=quiet) as bar:
        for number in bar:
            start = time.perf_counter()
            tick(WARM_UP + number)
            samples[number] = time.perf_counter() - start
            if number + 1 in (tenth, ticks):
                sizes.append(sum(array.nbytes for array in pool.state().values()))
                resident.append(_resident_bytes())
    used = time.process_time() - begun
    for name in names:
        pool.flush(name)
    times: list[float] = samples.tolist()
    p50 = percentile(times, 50)
    return LiveCost(
        streams=streams,
        ticks=ticks,
        p50_s=p50,
        p99_s=percentile(times, 99),
        first_p50_s=percentile(times[:tenth], 50),
        last_p50_s=percentile(times[-tenth:], 50),
        cpu_s=used / ticks,
        share=p50 / pool.contract.timing.snippet_s,
        state_bytes=(sizes[0], sizes[-1]),
        resident_bytes=(resident[0], resident[-1]),
    )


def cost_table(rows: Sequence[LiveCost]) -> Table:
    """Return the figures as a table."""
    return Table(
        "Live: cost of a tick, one snippet per stream",
        (
            "streams",
            "ticks",
            "p50 ms",
            "p99 ms",
            "first tenth",
            "last tenth",
            "CPU ms",
            "of the time",
            "target",
            "state KB, first tenth -> end",
            "resident MB, first tenth -> end",
        ),
        tuple(
            (
                str(row.streams),
                f"{row.ticks:,}",
                *(
                    f"{1e3 * value:.2f}"
                    for value in (row.p50_s, row.p99_s, row.first_p50_s, row.last_p50_s, row.cpu_s)
                ),
                f"{100 * row.share:.2f} %",
                f"{100 * TARGETS[row.streams]:.1f} %" if row.streams in TARGETS else "-",
                " -> ".join(f"{size / 1e3:.0f}" for size in row.state_bytes),
                " -> ".join(f"{size / 1e6:.0f}" for size in row.resident_bytes),
            )
            for row in rows
        ),
        (
            "Wall time; CPU ms: processor time of all threads. of the time: p50 as a share of the "
            "time between two snippets.",
        ),
    )


def _resident_bytes() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * 4096


@click.command("live-cost", cls=console.Command)
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--snippets", default=100_000, show_default=True, type=click.IntRange(min=10))
@click.option("--streams", multiple=True, default=(1, 16), show_default=True, type=int)
@click.option("--threads", default=2, show_default=True, type=click.IntRange(min=1))
@click.option("--out", type=click.Path(path_type=Path), help="Also write the table as Markdown.")
@console.quiet_option
def main(
    model: Path,
    snippets: int,
    streams: tuple[int, ...],
    threads: int,
    out: Path | None,
    quiet: bool,
) -> None:
    """Measure what live operation costs per snippet, SNIPPETS in all for each number of streams.

    Example: python benchmarks/studies/live_cost.py model.onnx --snippets 100000 --out cost.md
    """
    rows = []
    for count in streams:
        pool = LivePool.load(model, engine=EngineOptions(device="cpu", threads=threads))
        try:
            rows.append(measure(pool, count, max(10, snippets // count), quiet=quiet))
        finally:
            pool.close()
    table = cost_table(rows)
    click.echo(table.to_markdown())
    if out is not None:
        write_text(out, table.to_markdown() + "\n")


if __name__ == "__main__":
    main()
