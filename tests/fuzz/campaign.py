"""Mutated inputs against every reader: no exception but ours, no hang, bounded memory.

    python -m tests.fuzz.campaign --inputs 15000 --seed 1

Each reader runs in a process of its own, which takes all of its inputs one after another. An input
that ends in an exception other than Co2netError, takes over 5 s or over 300 MB is a finding; it is
written to --keep FOLDER, so that it can become a test.
"""

import contextlib
import json
import multiprocessing
import multiprocessing.connection
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import click

from co2net_runtime.errors import Co2netError
from tests.fuzz.readers import READERS, Reader

HANG_S = 5
# beyond what the reader took for the untouched input
MEMORY_BYTES = 300_000_000
# a reader may not take the machine's memory while it is found out
LIMIT_BYTES = 8_000_000_000


@dataclass(frozen=True)
class Finding:
    """An input that a reader does not stand."""

    reader: str
    seed: int
    kind: str  # "exception", "hang", "memory" or "crash"
    detail: str


@dataclass(frozen=True)
class Outcome:
    """One reader's inputs: how many were read, refused, and not stood."""

    reader: str
    accepted: int
    refused: int
    findings: tuple[Finding, ...]


class _Hang(BaseException):
    """Not an Exception: no reader may swallow it."""


def _alarm(number: int, frame: FrameType | None) -> None:
    raise _Hang


def mutated(reader: Reader, original: bytes, seed: int) -> bytes:
    """Return input number `seed` of a reader."""
    return reader.mutate(original, random.Random(f"{reader.name} {seed}"))


def run_reader(name: str, seeds: range, keep: Path | None = None) -> Outcome:
    """Give a reader its inputs in this process."""
    reader = READERS[name]
    accepted = refused = 0
    findings = []
    signal.signal(signal.SIGALRM, _alarm)
    signal.signal(signal.SIGPROF, _alarm)
    # warnings are for users to read, not findings
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        original = reader.original(Path(folder))
        path = Path(folder) / reader.file
        path.write_bytes(original)
        # what imports take is not the first input's
        with contextlib.suppress(Co2netError):
            reader.read(path)
        for seed in seeds:
            data = mutated(reader, original, seed)
            path.write_bytes(data)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            kind = detail = ""
            read = False
            # wall time only ends what sleeps for ever: a busy machine is not a hang
            signal.setitimer(signal.ITIMER_REAL, 900)
            signal.setitimer(signal.ITIMER_PROF, 60)
            start = time.process_time()
            try:
                reader.read(path)
                read = True
            except Co2netError as error:
                if "\n" in str(error):
                    kind, detail = "exception", f"more than one line: {error!r}"[:300]
            except _Hang:
                kind, detail = "hang", "over 60 s of processor time, or 15 minutes"
            except MemoryError:
                kind, detail = "memory", "MemoryError"
            except BaseException as error:
                where = traceback.extract_tb(error.__traceback__)[-1]
                kind = "exception"
                detail = f"{type(error).__name__}: {error} ({where.filename}:{where.lineno})"[:300]
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.setitimer(signal.ITIMER_PROF, 0)
            took = time.process_time() - start
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
            if not kind and took > HANG_S:
                kind, detail = "hang", f"{took:.1f} s of processor time"
            if not kind and grown > MEMORY_BYTES:
                kind, detail = "memory", f"{grown / 1e6:.0f} MB"
            accepted += read and not kind
            refused += not read and not kind
            if kind:
                findings.append(Finding(name, seed, kind, detail))
                if keep is not None:
                    keep.mkdir(parents=True, exist_ok=True)
                    (keep / f"{name}-{seed}{Path(reader.file).suffix}").write_bytes(data)
    return Outcome(name, accepted, refused, tuple(findings))


def _child(
    name: str, seeds: range, keep: Path | None, pipe: multiprocessing.connection.Connection
) -> None:
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
    # what a reader logs about a file is not looked at here
    sys.stderr = open("/dev/null", "w")  # noqa: SIM115, PTH123 for the life of the process
    pipe.send(run_reader(name, seeds, keep))


def run_in_child(name: str, seeds: range, keep: Path | None = None) -> Outcome:
    """Give a reader its inputs in a process of its own; a crash of it is a finding."""
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(name, seeds, keep, sending))
    child.start()
    sending.close()
    try:
        outcome = receiving.recv()
    except EOFError:
        child.join()
        crash = Finding(name, -1, "crash", f"the process ended with {child.exitcode}")
        return Outcome(name, 0, 0, (crash,))
    child.join()
    assert isinstance(outcome, Outcome)
    return outcome


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the counts as Markdown, findings below."""
    lines = ["| reader | inputs | read | refused | exceptions | hangs | memory | crashes |"]
    lines += ["|---|---:|---:|---:|---:|---:|---:|---:|"]
    kinds = ("exception", "hang", "memory", "crash")
    totals = [0] * 7
    for one in outcomes:
        counts = [sum(f.kind == kind for f in one.findings) for kind in kinds]
        inputs = one.accepted + one.refused + sum(counts)
        row = [inputs, one.accepted, one.refused, *counts]
        totals = [total + value for total, value in zip(totals, row, strict=True)]
        lines.append(f"| {one.reader} | " + " | ".join(map(str, row)) + " |")
    lines.append("| all | " + " | ".join(map(str, totals)) + " |")
    lines += [
        f"{f.reader} {f.seed}: {f.kind}: {f.detail}" for one in outcomes for f in one.findings
    ]
    return "\n".join(lines)


@click.command()
@click.option("--inputs", default=15_000, show_default=True, help="Inputs over all readers.")
@click.option("--seed", default=0, show_default=True, help="The first input's number.")
@click.option("--reader", "names", multiple=True, type=click.Choice(list(READERS)))
@click.option(
    "--keep", type=click.Path(path_type=Path), help="Folder for inputs that are findings."
)
@click.option("--jobs", default=os.cpu_count() or 1, help="Readers at a time.")
@click.option("--json", "as_json", is_flag=True)
def main(
    inputs: int, seed: int, names: tuple[str, ...], keep: Path | None, jobs: int, as_json: bool
) -> None:
    """Print how many mutated inputs each reader read, refused, and did not stand."""
    chosen = names or tuple(READERS)
    each = -(-inputs // len(chosen))

    def run(name: str) -> Outcome:
        outcome = run_in_child(name, range(seed, seed + each), keep)
        click.echo(f"{name}: {len(outcome.findings)} findings", err=True)
        return outcome

    with ThreadPoolExecutor(jobs) as pool:
        outcomes = list(pool.map(run, chosen))
    if as_json:
        found = [{"reader": o.reader, "read": o.accepted, "refused": o.refused,
                  "findings": [vars(f) for f in o.findings]} for o in outcomes]  # fmt: skip
        click.echo(json.dumps(found))
    else:
        click.echo(table(outcomes))
    if any(one.findings for one in outcomes):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
