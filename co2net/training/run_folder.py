"""The files of one training run."""

import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from co2net_runtime.errors import InputError
from co2net_runtime.files.atomic import output_folder, sweep_temporaries, write_text
from co2net_runtime.files.lock import lock, lock_file

# what the content of a damaged line raises where it is read
_WRONG = (ValueError, TypeError, AttributeError, RecursionError)


class RunFolder:
    """Names the files of a run; metrics and environment grow line by line, in JSON."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.metrics = self.path / "metrics.jsonl"  # a line per iteration and per evaluation
        self.environment = self.path / "environment.jsonl"  # a line per start of the run
        self.last = self.path / "last.ckpt"  # with the state to resume from
        self.best = self.path / "best.ckpt"  # without
        self.summary = self.path / "summary.json"
        self.curves = self.path / "curves.png"
        self.tensorboard = self.path / "tensorboard"  # folder of event files
        self.wandb = self.path / "wandb"  # folder of runs at Weights & Biases
        self.mlruns = self.path / "mlruns"  # MLflow's files, unless it has a server
        self.loggers = self.path / "loggers.json"  # ids of the run at these two

    @contextmanager
    def open(self, *, resume: bool = False, overwrite: bool = False) -> Iterator[None]:
        """Prepare the folder for a new run or a resumed one and keep other processes out of it.

        Args:
            resume: Continue the run in the folder.
            overwrite: Replace the run in the folder.

        Raises:
            InputError: Another process trains here; the folder holds anything and neither is
                given; there is no run to resume; `overwrite` would delete a file that no run
                wrote; or the folder cannot be written.
        """
        if resume and not self.config.is_file():
            raise InputError(f"{self.path}: no run to resume here (no {self.config.name})")
        output_folder(self.path)
        with lock(self.path):
            for file in self._files():
                sweep_temporaries(self.path, file.name)
            if not resume and self._entries():
                if not overwrite:
                    raise InputError(
                        f"{self.path}: not empty: pass --resume to continue the run, --overwrite "
                        "to replace it, or another --out"
                    )
                self._clear()
            yield

    def write_config(self, text: str) -> None:
        """Write config.yaml."""
        write_text(self.config, text)

    def log(self, record: Mapping[str, Any]) -> None:
        """Append a line to the metrics."""
        _append(self.metrics, record)

    def log_environment(self, record: Mapping[str, Any]) -> None:
        """Append a line to the environments."""
        _append(self.environment, record)

    def read_metrics(self) -> list[dict[str, Any]]:
        """Return the metrics so far, without a last line that a kill cut short.

        Raises InputError if the file is damaged in another way.
        """
        if not self.metrics.is_file():
            return []
        records = []
        lines = self.metrics.read_bytes().splitlines(keepends=True)
        for number, line in enumerate(lines, 1):
            try:
                record = json.loads(line)
                if not isinstance(record["iteration"], int):
                    raise TypeError
                check_evaluation(record)
            except (ArithmeticError, LookupError, *_WRONG) as error:
                if number == len(lines) and not line.endswith(b"\n"):
                    break
                raise InputError(
                    f"{self.metrics}: line {number} is not a record of a training run: restore "
                    "the file, or remove it to go on without the metrics so far"
                ) from error
            records.append(record)
        return records

    def rewind(self, iteration: int, *, keep_evaluation: bool = True) -> None:
        """Drop the metrics after `iteration`, which a resumed run records again.

        keep_evaluation: Whether that iteration's evaluation stays too.
        """
        kept = [
            record
            for record in self.read_metrics()
            if record["iteration"] < iteration
            or (record["iteration"] == iteration and (keep_evaluation or "total" in record))
        ]
        write_text(self.metrics, "".join(_line(record) for record in kept))

    def _files(self) -> list[Path]:
        return [path for path in vars(self).values() if path != self.path]

    def _entries(self) -> list[Path]:
        return [path for path in self.path.iterdir() if path != lock_file(self.path)]

    def _clear(self) -> None:
        ours, entries = self._files(), self._entries()
        for entry in entries:
            if entry not in ours:
                raise InputError(
                    f"{entry}: not a file of a training run, and --overwrite deletes only those: "
                    "choose another --out"
                )
        for entry in entries:
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()


def check_evaluation(record: Mapping[str, Any]) -> None:
    """Raise one of what `dict` and arithmetic raise unless a record's scores can be shown.

    Args:
        record: A line of metrics.jsonl; one without scores is fine.
    """
    detection, holdout = record.get("detection"), record.get("holdout")
    if detection is not None:
        averages = detection["averages"]
        if len(detection["map"]) != len(detection["tious"]) or "all" not in averages:
            raise ValueError
        shares = [*detection["map"], *averages.values(), detection["classification_map"]]
        # of text, lists and null there is no sum
        sum([*detection["tious"], *shares], 0.0)
        f"{detection['subset']}{detection['protocol']}"
    if holdout is not None:
        sum([holdout["classification_map"], 1 / holdout["videos"]], 0.0)


def _append(path: Path, record: Mapping[str, Any]) -> None:
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(_line(record))
    except OSError as error:
        raise InputError(f"{path}: cannot write it: {error.strerror}") from error


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(_finite(record)) + "\n"


def _finite(value: Any) -> Any:
    """Replace NaN and infinity, which JSON does not know, by None."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
