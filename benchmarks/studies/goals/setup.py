"""What all goals are measured with: the files, the videos, and targets opened in turns."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from co2net.data.dataset import Dataset, DatasetOptions
from co2net_benchmarks.inputs import FeatureSource
from co2net_benchmarks.runners.pool import Fleet, Member
from co2net_benchmarks.runners.process import TargetError
from co2net_benchmarks.runners.targets import Kind, Target
from co2net_runtime.backends import EngineOptions
from co2net_runtime.cli import console
from co2net_runtime.errors import InputError
from studies.goals.fresh import ENGINE_ALONE, INFER, Fresh, run_fresh


@dataclass(frozen=True)
class Setup:
    """The files to measure.

    plain, optimised, int8: artefacts of the same checkpoint. data, options: the dataset. videos:
    one feature file per test video. source: gives features of any length, cut from them. folder:
    for temporary files. rounds: turns of each figure; fewer than 6 have no 95 % interval. threads:
    of an operator, on both sides; None leaves it to the engines.
    """

    checkpoint: Path
    plain: Path
    optimised: Path
    int8: Path
    data: Path
    options: DatasetOptions
    videos: tuple[Path, ...]
    source: FeatureSource
    folder: Path
    rounds: int
    threads: int | None
    quiet: bool

    @property
    def artefacts(self) -> dict[str, Path]:
        """The artefacts by the names of the tables."""
        return {"plain": self.plain, "optimised": self.optimised, "int8": self.int8}

    def target(self, name: str, kind: Kind, *, published_decoding: bool = False) -> Target:
        """Return one of the files, run in one way."""
        path = {**self.artefacts, "PyTorch": self.checkpoint}[name]
        shown = f"{name}, ONNX Runtime alone" if kind == "onnxruntime" else name
        return Target(shown, kind, path, published_decoding)

    def video(self, length: int) -> Path:
        """Return a feature file of so many snippets."""
        path = self.folder / f"{length}.npy"
        if not path.is_file():
            np.save(path, self.source.features(length))
        return path

    def tell(self, text: str) -> None:
        """Print progress on stderr."""
        console.note(text, quiet=self.quiet)

    def infer(self, artefact: Path, *arguments: str, tell_peak: bool = False) -> Fresh:
        """Run co2net-infer on an artefact in a process of its own."""
        threads = [] if self.threads is None else ["--threads", str(self.threads)]
        given = (str(artefact), *arguments, *threads, "--quiet")
        return run_fresh(INFER, *given, tell_peak=tell_peak)

    def engine_alone(self, artefact: Path, video: str, *, tell_peak: bool = False) -> Fresh:
        """Run an artefact in a process that imports ONNX Runtime and nothing of ours."""
        given = (str(artefact), video, str(self.threads or 0))
        return run_fresh(ENGINE_ALONE, *given, tell_peak=tell_peak)

    @contextmanager
    def opened(self, *targets: Target, threads: int | None = None) -> Iterator[Fleet]:
        """Open the targets, each in a process of its own. threads: other than `self.threads`.

        Raises InputError if one cannot be opened.
        """
        with Fleet(targets, EngineOptions(threads=threads or self.threads), self.folder) as fleet:
            for info in fleet.infos():
                if info.status != "measured":
                    raise InputError(f"{info.file}: cannot be measured: {info.reason}")
            yield fleet


def video_files(dataset: Dataset, folder: Path, count: int | None) -> tuple[Path, ...]:
    """Return a feature file for each test video; those that share a file are written to `folder`.

    count: the first so many, None for all.
    """
    paths = []
    for video in dataset.videos(dataset.test_subset)[:count]:
        path = Path(dataset.where(video.name))
        if not path.is_file():
            path = folder / f"{video.name}.npy"
            np.save(path, dataset.load_features(video.name))
        paths.append(path)
    return tuple(paths)


def take_rounds(
    fleet: Fleet, act: Callable[[Member], Any], rounds: int
) -> dict[str, list[dict[str, Any]]]:
    """Let the members act in turns; return what each one answered, by name.

    Raises TargetError if one fails.
    """
    answers: dict[str, list[dict[str, Any]]] = {member.name: [] for member in fleet.members}
    for _ in range(rounds):
        for member, answer, _ in fleet.take_turns(act):
            answers[member.name].append(answer)
    for info in fleet.infos():
        if info.status != "measured":
            raise TargetError(f"{info.file}: {info.reason}")
    return answers


def column(answers: Sequence[dict[str, Any]], name: str) -> list[list[float]]:
    """Return one figure of all answers, as turns of one sample."""
    return [[answer[name]] for answer in answers]
