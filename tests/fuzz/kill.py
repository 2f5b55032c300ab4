"""kill -9 at random moments: what stays is whole, and the next run finishes the job.

    python -m tests.fuzz.kill --kills 60 --seed 1

Each scenario runs a command once undisturbed, which gives its duration and its result. Then it is
started again and again in a folder of its own and killed at a random moment; afterwards the check
looks at what the command left, and the command that continues the work must exit with 0 and end
with the undisturbed result.
"""

import functools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import click
import numpy as np

from co2net_runtime.artefact.onnx_file import read_contract

PATIENCE_S = 600
SMALL = ("--classes", "2", "--videos", "15", "--rgb-dim", "8", "--flow-dim", "8", "-q")
TRAIN = (
    "--preset", "synthetic", "--set", "iterations=6", "--set", "max_snippets=16",
    "--set", "evaluate_every=2", "--set", "checkpoint_every=1", "--device", "cpu", "--threads", "1",
    "-q",
)  # fmt: skip


@dataclass(frozen=True)
class Given:
    """What all scenarios start from."""

    data: Path  # a small planted dataset
    checkpoint: Path
    model: Path  # with MODEL.live.onnx beside it
    rows: Path  # features of a long stream


@dataclass(frozen=True)
class Scenario:
    """A command that is killed."""

    name: str
    command: Callable[[Given], tuple[str, ...]]  # run in a folder of its own
    again: Callable[[Path], tuple[str, ...]]  # the options with which a user would go on there
    look: Callable[[Path], None]  # raises if what a kill left is broken
    result: Callable[[Path, list[str]], object]  # the folder, lines of all runs' stdout -> result


@dataclass
class Count:
    """What became of a scenario's kills."""

    kills: int = 0  # sent while the command ran
    late: int = 0  # the command had ended before
    problems: list[str] = field(default_factory=list)


def tool(name: str) -> str:
    return str(Path(sys.executable).parent / f"co2net-{name}")


def run(command: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(command), cwd=folder, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


# --- what is looked at


def whole_json(folder: Path) -> None:
    for path in folder.glob("*.json"):
        json.loads(path.read_text())


def whole_checkpoints(folder: Path) -> None:
    from co2net.checkpoint import Checkpoint

    for path in folder.glob("run/*.ckpt"):
        Checkpoint.load(path)


def whole_model(folder: Path) -> None:
    for path in folder.glob("*.onnx"):
        read_contract(path)


def no_look(folder: Path) -> None:
    """What is half done may stay here: the next run takes or refuses it."""
    assert folder.is_dir()


def losses(folder: Path, lines: list[str]) -> object:
    assert isinstance(lines, list)
    records = map(json.loads, (folder / "run/metrics.jsonl").read_text().splitlines())
    return {r["iteration"]: r["total"] for r in records if "total" in r}


def segments(name: str) -> Callable[[Path, list[str]], object]:
    def result(folder: Path, lines: list[str]) -> object:
        assert isinstance(lines, list)
        text = (folder / name).read_text()
        if name.endswith(".json"):
            return sorted(json.loads(text)["results"].items())
        if name.endswith(".csv"):
            return sorted(text.splitlines())
        entries = map(json.loads, text.splitlines())
        return sorted((entry["video"], entry["results"]) for entry in entries)

    return result


def events(folder: Path, lines: list[str]) -> object:
    """The segments of a stream; after a kill some may have come twice."""
    assert folder.is_dir()
    found = (json.loads(line) for line in lines if line.endswith("}"))
    return sorted({(e["label"], e["start_s"], e["end_s"]) for e in found if e["kind"] == "segment"})


def contract(folder: Path, lines: list[str]) -> object:
    assert isinstance(lines, list)
    names = {path.name for path in folder.iterdir()}
    assert not [name for name in names if name.startswith(".m.")], names
    return read_contract(folder / "m.onnx").checkpoint_sha256


def files(folder: Path, lines: list[str]) -> object:
    assert isinstance(lines, list)
    found = sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    features = {str(p): np.load(folder / p).tobytes() for p in found if p.suffix == ".npy"}
    return [str(p) for p in found], features


def resume(folder: Path) -> tuple[str, ...]:
    return ("--resume",) if (folder / "run/config.yaml").exists() else ("--overwrite",)


def skip_existing(_: Path) -> tuple[str, ...]:
    return ("--skip-existing",)


def overwrite(_: Path) -> tuple[str, ...]:
    return ("--overwrite",)


def as_before(_: Path) -> tuple[str, ...]:
    return ()


def infer(given: Given, out: str) -> tuple[str, ...]:
    engine = ("--threads", "1", "--backend", "onnxruntime")
    return (tool("infer"), str(given.model), str(given.data / "features"), "--out", out, *engine)


def live(given: Given) -> tuple[str, ...]:
    state = ("--state", "s.npz", "--state-every", "0", "--end-after", "1")
    return (tool("infer"), str(given.model), "--live", f"door={given.rows}", *state)


def export(given: Given) -> tuple[str, ...]:
    return (tool("export"), str(given.checkpoint), "m.onnx", "--live", "-q")


def train(given: Given) -> tuple[str, ...]:
    return (tool("train"), str(given.data), "--out", "run", *TRAIN)


def synth(_: Given) -> tuple[str, ...]:
    return (tool("data"), "synth", "d", *SMALL)


def convert(given: Given) -> tuple[str, ...]:
    return (tool("data"), "convert", str(given.data), "d", "--dtype", "float16", "-q")


SCENARIOS = (
    Scenario("co2net-train", train, resume, whole_checkpoints, losses),
    *(
        Scenario(
            f"co2net-infer --out {out}",
            functools.partial(infer, out=out),
            skip_existing,
            whole_json,
            segments(out),
        )
        for out in ("p.json", "p.jsonl", "p.csv")
    ),
    Scenario("co2net-export", export, overwrite, whole_model, contract),
    Scenario("co2net-data synth", synth, overwrite, no_look, files),
    Scenario("co2net-data convert", convert, overwrite, no_look, files),
    Scenario("co2net-infer --live --state", live, as_before, no_look, events),
)


def prepare(folder: Path) -> Given:
    """Make the dataset, a checkpoint, a model and a stream."""
    data, model, rows = folder / "data", folder / "model.onnx", folder / "stream.npy"
    steps = [
        (tool("data"), "synth", str(data), *SMALL),
        (tool("train"), str(data), "--out", str(folder / "run"), "--select", "last", *TRAIN),
        (tool("export"), str(folder / "run/last.ckpt"), str(model), "--live", "-q"),
    ]
    for step in steps:
        done = run(step, folder)
        if done.returncode:
            raise SystemExit(f"{' '.join(step)}: {done.stderr}")
    videos = [np.load(path) for path in sorted((data / "features").glob("*.npy"))]
    np.save(rows, np.concatenate(videos * 3))
    return Given(data, folder / "run/last.ckpt", model, rows)


def disturb(scenario: Scenario, given: Given, root: Path, kills: int, rng: random.Random) -> Count:
    """Kill the scenario's command so many times; return what became of it."""
    count = Count()
    calm = root / "calm"
    calm.mkdir()
    start = time.monotonic()
    done = run(scenario.command(given), calm)
    duration = time.monotonic() - start
    if done.returncode:
        count.problems.append(f"undisturbed: {done.stderr}")
        return count
    expected = scenario.result(calm, done.stdout.splitlines())
    for number in range(kills):
        folder = root / str(number)
        folder.mkdir()
        process = subprocess.Popen(
            scenario.command(given),
            cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        # imports come first and leave nothing behind
        time.sleep(rng.uniform(0.2, 1) * duration)
        if process.poll() is None:
            process.kill()
            count.kills += 1
        else:
            count.late += 1
        lines = process.communicate()[0].splitlines()
        try:
            scenario.look(folder)
            if count.late and process.returncode == 0:
                continue
            after = run((*scenario.command(given), *scenario.again(folder)), folder)
            if after.returncode:
                raise AssertionError(f"continuing: exit code {after.returncode}: {after.stderr}")
            found = scenario.result(folder, lines + after.stdout.splitlines())
            if found != expected:
                raise AssertionError("the result is not that of an undisturbed run")
        except Exception as error:
            count.problems.append(f"kill {number}: {type(error).__name__}: {error}"[:500])
    return count


@click.command()
@click.option("--kills", default=60, show_default=True, help="Over all scenarios.")
@click.option("--seed", default=0, show_default=True)
@click.option("--only", help="Scenarios whose name holds this text.")
@click.option("--jobs", default=os.cpu_count() or 1, help="Commands at a time.")
def main(kills: int, seed: int, only: str | None, jobs: int) -> None:
    """Print for each command how often it was killed, and what did not survive it."""
    chosen = [one for one in SCENARIOS if only is None or only in one.name]
    click.echo("| command | killed while running | ended before the kill | problems |")
    click.echo("|---|---:|---:|---:|")
    problems = []
    with tempfile.TemporaryDirectory() as folder:
        given = prepare(Path(folder))

        def run(scenario: Scenario) -> Count:
            root = Path(tempfile.mkdtemp(dir=folder))
            rng = random.Random(f"{seed} {scenario.name}")
            return disturb(scenario, given, root, -(-kills // len(chosen)), rng)

        with ThreadPoolExecutor(jobs) as pool:
            for scenario, count in zip(chosen, pool.map(run, chosen), strict=True):
                click.echo(
                    f"| `{scenario.name}` | {count.kills} | {count.late} | {len(count.problems)} |"
                )
                problems += [f"{scenario.name}: {problem}" for problem in count.problems]
    for problem in problems:
        click.echo(problem)
    if problems:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
