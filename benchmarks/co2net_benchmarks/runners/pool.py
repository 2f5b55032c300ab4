"""All targets of a measurement, each opened in a child process of its own, taken in turns."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from co2net_benchmarks.runners.process import Child, TargetError
from co2net_benchmarks.runners.runners import Prepared
from co2net_benchmarks.runners.targets import Target
from co2net_runtime.artefact.contract import Contract
from co2net_runtime.backends import EngineOptions
from co2net_runtime.errors import Co2netError, InputError

Status = Literal["measured", "not installed", "failed"]


@dataclass(frozen=True)
class TargetInfo:
    """What is known of a target; `reason` says why it was not measured, or not to its end.

    file: its name, without the folder. model_bytes: of its weights in a checkpoint, which may hold
    training state besides, else of the file. macs_per_snippet: of the plain network where its
    checkpoint is among the targets, else what the file's layers do; None where nobody knows.
    """

    name: str
    kind: str
    file: str
    model_bytes: int
    status: Status
    reason: str = ""
    engine: str = ""
    precision: str = ""
    checkpoint_sha256: str = ""
    macs_per_snippet: int | None = None


@dataclass
class Member:
    """A target that is open. Its child blocks until it is asked."""

    prepared: Prepared
    child: Child
    contract: Contract
    engine: str
    macs_per_snippet: int | None
    model_bytes: int
    precision: str
    failure: str = ""

    @property
    def name(self) -> str:
        """Name of the target."""
        return self.prepared.target.name


class Fleet:
    """Opens all targets that can be opened; one that fails is kept with its reason."""

    def __init__(self, targets: Sequence[Target], options: EngineOptions, folder: Path) -> None:
        """Prepare. folder: for what the targets must write (a plain export)."""
        self._targets, self._options, self._folder = tuple(targets), options, folder
        self._members: dict[str, Member] = {}
        self._absent: dict[str, tuple[Status, str]] = {}
        self._stack = ExitStack()

    @property
    def members(self) -> list[Member]:
        """Targets that are open and have not failed, in the order of the command line."""
        return [member for member in self._members.values() if not member.failure]

    @property
    def feature_dim(self) -> int:
        """Width of the features all targets take.

        Raises InputError if they differ, or no target is open.
        """
        widths = {member.name: member.contract.feature_dim for member in self.members}
        if not widths:
            reasons = "; ".join(f"{info.name}: {info.reason}" for info in self.infos())
            raise InputError(f"no target can be measured: {reasons}")
        if len(set(widths.values())) > 1:
            found = ", ".join(f"{name} {width}" for name, width in widths.items())
            raise InputError(f"the targets take features of different widths: {found}")
        return next(iter(widths.values()))

    def infos(self) -> tuple[TargetInfo, ...]:
        """Return what is known of all targets, measured or not."""
        return tuple(self._info(target) for target in self._targets)

    def take_turns(self, act: Callable[[Member], Any]) -> Iterator[tuple[Member, Any, float]]:
        """Let each member act, one after another; the others wait, blocked.

        Yields the member, what `act` returned, and for how many seconds the processor stayed busy
        afterwards. A member whose act raises TargetError has failed and takes no more turns.
        """
        for member in self.members:
            try:
                result = act(member)
                busy_s = member.child.settle()
            except TargetError as error:
                member.failure = str(error)
                continue
            yield member, result, busy_s

    def fresh_child(self) -> Child:
        """Return a new process in which nothing is opened yet."""
        return Child(self._options.threads)

    def open_in(self, child: Child, member: Member) -> dict[str, Any]:
        """Open the member's target in another process: import_s, load_s."""
        return child.open(member.prepared, self._options)

    def _open(self, target: Target) -> Member:
        prepared = Prepared(target, target.path)
        if target.needs_preparation:
            with Child(self._options.threads) as helper:
                prepared = helper.prepare(target, self._folder)
        child = self._stack.enter_context(Child(self._options.threads))
        child.open(prepared, self._options)
        facts = child.ask("facts")
        contract = Contract.from_json(facts["contract"], target.name)
        return Member(
            prepared,
            child,
            contract,
            facts["engine"],
            facts["macs_per_snippet"],
            facts["model_bytes"] or prepared.model_bytes,
            facts["computes_in"] or contract.precision,
        )

    def _info(self, target: Target) -> TargetInfo:
        info = TargetInfo(
            name=target.name,
            kind=target.kind,
            file=target.path.name,
            model_bytes=target.model_bytes,
            status="measured",
        )
        if target.name in self._absent:
            status, reason = self._absent[target.name]
            return replace(info, status=status, reason=reason)
        member = self._members[target.name]
        contract = member.contract
        return replace(
            info,
            model_bytes=member.model_bytes,
            status="failed" if member.failure else "measured",
            reason=member.failure,
            engine=member.engine,
            precision=member.precision,
            checkpoint_sha256=contract.checkpoint_sha256,
            macs_per_snippet=self._macs(member),
        )

    def _macs(self, member: Member) -> int | None:
        """Return an artefact's arithmetic: its checkpoint's if that is a target, else its own."""
        known = {
            other.contract.checkpoint_sha256: other.macs_per_snippet
            for other in self._members.values()
            if other.macs_per_snippet is not None
        }
        digest = member.contract.checkpoint_sha256
        return known[digest] if digest in known else _macs_of_file(member.prepared.path)

    def __enter__(self) -> "Fleet":
        try:
            for target in self._targets:
                missing = target.missing_packages()
                if missing:
                    self._absent[target.name] = ("not installed", f"no {', '.join(missing)} here")
                    continue
                try:
                    self._members[target.name] = self._open(target)
                except TargetError as error:
                    self._absent[target.name] = ("failed", str(error))
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)


def _macs_of_file(path: Path) -> int | None:
    try:
        from co2net_benchmarks.graphs.describe import describe

        return describe(path).macs_per_snippet
    except (ImportError, Co2netError):
        return None  # no onnx here, or an engine
