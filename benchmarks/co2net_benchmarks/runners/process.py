"""The parent's side of the child processes: start, ask, wait until they are quiet, stop."""

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from co2net_benchmarks.runners.runner import RunnerInfo, Target
from co2net_runtime.backends import EngineOptions
from co2net_runtime.errors import Co2netError
from co2net_runtime.files.records import to_mapping

if TYPE_CHECKING:
    from typing_extensions import Self

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_QUIET_FOR_S = 0.02
_SETTLE_LIMIT_S = 2.0


class TargetError(Co2netError):
    """A target cannot be measured."""


class Child:
    """A fresh process that blocks on its pipe until it is asked."""

    def __init__(self, threads: int | None = None) -> None:
        """Start the process and wait for its interpreter. Raises TargetError if that fails.

        threads: for libraries that take it from the environment.
        """
        # the child imports what this process imports
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        if threads:
            environment.update(dict.fromkeys(_THREAD_VARIABLES, str(threads)))
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # open until `close`
        self.started = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "co2net_benchmarks.runners.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment,
            text=True,
        )
        self._answer()
        self.process_s = time.perf_counter() - self.started

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Send one request of `worker.Worker` and return its answer.

        Raises:
            TargetError: It fails, with the child's own words, or dies.
        """
        assert self._process.stdin is not None
        # if it has died, the missing answer says why
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
        return self._answer()

    def settle(self) -> float:
        """Wait until the child is quiet; return the seconds for which it used the processor.

        Some engines' threads spin for a while after a query; the next target's turn must not pay
        for that. Where the system does not say, this waits for a fixed short time.
        """
        start = busy_until = time.perf_counter()
        used = self._processor_ticks()
        while (now := time.perf_counter()) - busy_until < _QUIET_FOR_S:
            if now - start > _SETTLE_LIMIT_S:
                break
            time.sleep(_QUIET_FOR_S / 4)
            if (ticks := self._processor_ticks()) != used:
                used, busy_until = ticks, time.perf_counter()
        return busy_until - start

    def close(self) -> None:
        """End the process by closing its pipe; kill it if that does not suffice."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._log.close()

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self._process.kill()
        self.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise TargetError(self._last_words())
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise TargetError(answer["error"])
        return answer

    def _last_words(self) -> str:
        code = self._process.wait()
        self._log.seek(0)
        lines = self._log.read().decode("utf-8", "replace").strip().splitlines()
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return f"its process ended with {how}{': ' + lines[-1] if lines else ''}"

    def _processor_ticks(self) -> int:
        try:
            text = Path(f"/proc/{self._process.pid}/stat").read_text(encoding="ascii")
        except OSError:
            return 0
        # user and system time, the 14th and 15th field; the 2nd, a name in (), may hold blanks
        fields = text.rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])


class RunnerProcess(Child):
    """The child process of one target, its runner open."""

    def __init__(self, target: Target, path: Path, options: EngineOptions) -> None:
        """Start the process and open the target in it. Raises TargetError if that fails.

        path: the file to open, the target's own or what was made of it (`Runner.prepare`).
        """
        super().__init__(options.threads)
        self.target, self.path, self._options = target, path, options
        self.failure = ""  # why it takes no more turns
        try:
            answer = self.ask(
                "open", target=as_request(target), path=str(path), options=to_mapping(options)
            )
        except BaseException:
            self.close()
            raise
        self.import_s: float = answer["import_s"]
        self.load_s: float = answer["load_s"]
        self.info = RunnerInfo(**answer["info"])

    @property
    def name(self) -> str:
        """Name of the target."""
        return self.target.name

    def again(self) -> "RunnerProcess":
        """Return another process, just started, with the same target open: a cold start."""
        return RunnerProcess(self.target, self.path, self._options)


def as_request(target: Target) -> dict[str, str]:
    """Return the target as the JSON of a request."""
    return {"name": target.name, "kind": target.kind, "path": str(target.path)}
