"""All targets of a measurement, each open in a child process of its own, taken in turns."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from co2net_benchmarks.runners.process import Child, RunnerProcess, TargetError, as_request
from co2net_benchmarks.runners.runner import RunnerInfo, Target
from co2net_benchmarks.runners.runners import RUNNERS
from co2net_benchmarks.runners.targets import missing_packages
from co2net_runtime.backends import EngineOptions
from co2net_runtime.errors import Co2netError, InputError


class RunnerPool:
    """Opens all targets that can be opened; one that fails is kept with its reason.

    Example:
        with RunnerPool(targets, EngineOptions(threads=2), folder) as pool:
            for process, answer, busy_s in pool.take_turns(act):
                ...
    """

    def __init__(self, targets: Sequence[Target], options: EngineOptions, folder: Path) -> None:
        """Remember what to open.

        Args:
            targets: In the order of the command line; the first that opens is the reference.
            options: Of their engines.
            folder: For files that targets make before they are opened (a plain export).
        """
        self._targets, self._options, self._folder = tuple(targets), options, folder
        self._opened: dict[str, RunnerProcess] = {}
        self._absent: dict[str, RunnerInfo] = {}
        self._stack = ExitStack()

    @property
    def processes(self) -> list[RunnerProcess]:
        """Those that are open and have not failed, in the order of the command line."""
        return [process for process in self._opened.values() if not process.failure]

    @property
    def feature_dim(self) -> int:
        """Width of the features that all targets take.

        Raises:
            InputError: They differ, or no target is open.
        """
        widths = {process.name: process.info.feature_dim for process in self.processes}
        if not widths:
            reasons = "; ".join(f"{info.name}: {info.reason}" for info in self.infos())
            raise InputError(f"no target can be measured: {reasons}")
        if len(set(widths.values())) > 1:
            found = ", ".join(f"{name} {width}" for name, width in widths.items())
            raise InputError(f"the targets take features of different widths: {found}")
        return next(iter(widths.values()))

    def infos(self) -> tuple[RunnerInfo, ...]:
        """Return the records of all targets, measured or not."""
        return tuple(self._info(target.name) for target in self._targets)

    def take_turns(
        self, act: Callable[[RunnerProcess], Any]
    ) -> Iterator[tuple[RunnerProcess, Any, float]]:
        """Let each process act, one after another; the others wait, blocked.

        Yields the process, what `act` returned, and the seconds for which the processor stayed
        busy afterwards; the next turn begins only then. A process whose act raises TargetError
        has failed and takes no more turns.
        """
        for process in self.processes:
            try:
                result = act(process)
                busy_s = process.settle()
            except TargetError as error:
                process.failure = str(error)
                continue
            yield process, result, busy_s

    def _open(self, target: Target) -> RunnerProcess:
        path = target.path
        if RUNNERS[target.kind].is_prepared:
            with Child(self._options.threads) as helper:
                made = helper.ask("prepare", target=as_request(target), folder=str(self._folder))
                path = Path(made["path"])
        return self._stack.enter_context(RunnerProcess(target, path, self._options))

    def _info(self, name: str) -> RunnerInfo:
        if name in self._absent:
            return self._absent[name]
        process = self._opened[name]
        info = replace(process.info, macs_per_snippet=self._macs(process))
        return replace(info, status="failed", reason=process.failure) if process.failure else info

    def _macs(self, process: RunnerProcess) -> int | None:
        """Return an artefact's arithmetic: its checkpoint's if that is a target, else its own."""
        known = {
            other.info.checkpoint_sha256: other.info.macs_per_snippet
            for other in self._opened.values()
            if other.info.macs_per_snippet is not None
        }
        digest = process.info.checkpoint_sha256
        return known[digest] if digest in known else _macs_of_file(process.path)

    def __enter__(self) -> "RunnerPool":
        try:
            for target in self._targets:
                missing = missing_packages(target)
                if missing:
                    reason = f"no {', '.join(missing)} here"
                    self._absent[target.name] = RunnerInfo.absent(target, "not installed", reason)
                    continue
                try:
                    self._opened[target.name] = self._open(target)
                except TargetError as error:
                    self._absent[target.name] = RunnerInfo.absent(target, "failed", str(error))
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *exception: Any) -> None:
        self._stack.__exit__(*exception)


def _macs_of_file(path: Path) -> int | None:
    try:
        from co2net_benchmarks.graphs.describe import describe

        return describe(path).macs_per_snippet
    except (ImportError, Co2netError):
        return None  # no onnx here, or an engine
