"""The files of one training run."""

import json
import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from co2net_runtime.errors import InputError
from co2net_runtime.files.atomic import output_folder, write_text


class RunFolder:
    """Names the files of a run; metrics and environment grow line by line, in JSON.

    config: config.yaml. metrics: metrics.jsonl, a line for each iteration and each evaluation.
    environment: environment.jsonl, a line for each start of the run. last, best: last.ckpt with
    the state to resume from, best.ckpt without. summary: summary.json. curves: curves.png.
    tensorboard: folder of event files.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.metrics = self.path / "metrics.jsonl"
        self.environment = self.path / "environment.jsonl"
        self.last = self.path / "last.ckpt"
        self.best = self.path / "best.ckpt"
        self.summary = self.path / "summary.json"
        self.curves = self.path / "curves.png"
        self.tensorboard = self.path / "tensorboard"

    def create(self, *, resume: bool = False, overwrite: bool = False) -> None:
        """Make the folder ready for a new run, or for the run that it holds if `resume`.

        Raises InputError if it holds anything and neither is given, if there is no run to resume,
        or if `overwrite` would delete what is not a run's.
        """
        self._remove_unfinished()
        used = self.path.is_dir() and any(self.path.iterdir())
        if resume:
            if not self.config.is_file():
                raise InputError(f"{self.path}: no run to resume here (no {self.config.name})")
        elif used and not overwrite:
            raise InputError(
                f"{self.path}: not empty: pass --resume to continue the run, --overwrite to "
                "replace it, or another --out"
            )
        elif used:
            self._clear()
        output_folder(self.path)

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
        """Return the metrics so far; a last line that a kill cut short is left out."""
        if not self.metrics.is_file():
            return []
        records = []
        for line in self.metrics.read_text(encoding="utf-8").splitlines():
            try:
                records.append(json.loads(line))
            except ValueError:
                break
        return records

    def rewind(self, iteration: int) -> None:
        """Drop the metrics of iterations after `iteration`, which a resumed run does again."""
        kept = [record for record in self.read_metrics() if record["iteration"] <= iteration]
        write_text(self.metrics, "".join(_line(record) for record in kept))

    def _clear(self) -> None:
        ours = {path.name for path in vars(self).values() if path != self.path}
        entries = [*self.path.iterdir()]
        for entry in entries:
            if entry.name not in ours:
                raise InputError(
                    f"{entry}: not a file of a training run: --overwrite would not know what it "
                    "deletes; choose another --out"
                )
        for entry in entries:
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    def _remove_unfinished(self) -> None:
        # a checkpoint that a kill cut short, under the temporary name of files.atomic_path
        for name in (self.last.name, self.best.name):
            for file in self.path.glob(f".{name}.*"):
                file.unlink()


def _append(path: Path, record: Mapping[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(_line(record))


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(_finite(record)) + "\n"


def _finite(value: Any) -> Any:
    """Return the value with NaN and infinity, which JSON does not know, as None."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
