"""Streams of features -> events while they happen: one model, any number of streams.

Snippets arrive one by one or in blocks. A segment is emitted once, when its component at the lowest
attention threshold has closed and its outer margin is known, and never retracted.
"""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from co2net_runtime.backends import Backend
from co2net_runtime.backends.selection import open_backend
from co2net_runtime.chunked import sibling
from co2net_runtime.components import Component, Components
from co2net_runtime.context import Context, ContextName
from co2net_runtime.contract import Contract
from co2net_runtime.errors import InputError
from co2net_runtime.features import Features, check_features
from co2net_runtime.proposals import Floats, SnippetSegments
from co2net_runtime.records import to_mapping
from co2net_runtime.steps import Carried, Step, advance, finish

State = dict[str, npt.NDArray[Any]]

# The context is taken anew at every snippet up to the first so many, and then whenever so many have
# come: at the same places of a stream, whatever blocks it arrives in, so that these change nothing.
_REFRESH = 8


@dataclass(frozen=True)
class LiveOptions:
    """How a stream is localized while it runs. Times are seconds of the stream.

    context: what stands in for the video's temporal mean: "running", the mean of the stream so
    far; "exponential", with `half_life_s`; "prior", the mean of the training videos in the model.
    prior_s: that prior counts as so much of the stream in the two means; 0 leaves it out.
    class_window_s: the classes are those of the last so many seconds, in place of the whole video.
    longest_s: a component that grows longer is cut where attention is lowest in its second half.
    warmup_s: segments that begin earlier are marked, since the context is young. provisional_s:
    how often an open component is reported; None for never.
    """

    context: ContextName = "running"
    half_life_s: float = 300.0
    prior_s: float = 0.0
    class_window_s: float = 320.0
    longest_s: float | None = 20.0
    warmup_s: float = 60.0
    provisional_s: float | None = None

    def __post_init__(self) -> None:
        for name in ("half_life_s", "class_window_s", "longest_s", "provisional_s"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be positive, got {value}")
        for name in ("prior_s", "warmup_s"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")


@dataclass(frozen=True)
class Event:
    """What was found. Times are seconds since the stream's first snippet.

    kind: "segment", final; or "ongoing", an action that has not ended. start_s, end_s: for an
    ongoing one, the end of what has been seen. rank: place among the segments of its component and
    class, 0 for the best; the others lie around it or inside. at_s: how much of the stream had
    arrived when this was known. warmup: the context was young. cut: the component was too long.
    """

    kind: Literal["segment", "ongoing"]
    stream: str
    label: str
    start_s: float
    end_s: float
    score: float
    rank: int
    at_s: float
    warmup: bool = False
    cut: bool = False


class LiveLocalizer:
    """Localizes actions in one stream: `LivePool` with a stream called "live"."""

    def __init__(self, pool: "LivePool") -> None:
        """Use `LiveLocalizer.load`."""
        self.pool = pool

    @staticmethod
    def load(
        path: str | os.PathLike[str],
        options: LiveOptions = LiveOptions(),
        *,
        context: npt.NDArray[np.float32] | None = None,
        probabilities: Floats | None = None,
        threads: int | None = None,
    ) -> "LiveLocalizer":
        """Open a model; arguments and errors are those of `LivePool.load`."""
        pool = LivePool.load(
            path, options, context=context, probabilities=probabilities, threads=threads
        )
        return LiveLocalizer(pool)

    def push(self, features: npt.NDArray[Any]) -> list[Event]:
        """Take the next snippet (D,) or snippets (n, D); return what is known now.

        Raises InputError if the features do not fit the model; the stream then stands as before.
        """
        return self.pool.push({"live": features})

    def flush(self) -> list[Event]:
        """End the stream; return what is left. The next push begins another one at 0 s."""
        return self.pool.flush("live")

    def state(self) -> State:
        """Return all that later events depend on, as arrays (np.savez writes them)."""
        return self.pool.state()

    @staticmethod
    def from_state(
        path: str | os.PathLike[str], state: Mapping[str, npt.NDArray[Any]], **arguments: Any
    ) -> "LiveLocalizer":
        """Open a model as `load` does, and go on from what `state` returned.

        Raises InputError if the state belongs to another model or other options.
        """
        localizer = LiveLocalizer.load(path, **arguments)
        try:
            localizer.pool.restore(state)
        except InputError:
            localizer.close()
            raise
        return localizer

    def close(self) -> None:
        """Free the engine."""
        self.pool.close()

    def __enter__(self) -> "LiveLocalizer":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class LivePool:
    """Localizes actions in many streams with one model; streams pushed together share a batch."""

    def __init__(
        self,
        backend: Backend,
        options: LiveOptions,
        context: npt.NDArray[np.float32] | None,
        probabilities: Floats | None,
    ) -> None:
        """Use `LivePool.load`."""
        self._backend, self.options = backend, options
        self._context, self._probabilities = context, probabilities
        self._streams: dict[str, _Stream] = {}

    @staticmethod
    def load(
        path: str | os.PathLike[str],
        options: LiveOptions = LiveOptions(),
        *,
        context: npt.NDArray[np.float32] | None = None,
        probabilities: Floats | None = None,
        threads: int | None = None,
    ) -> "LivePool":
        """Open MODEL.live.onnx, beside MODEL.onnx or named itself; it runs on the CPU.

        context (D,), probabilities (C,): the temporal mean and the class probabilities of the
        whole stream, where they are known, for example from a first pass over a file. With both,
        and longest_s None, the segments are those of `Localizer`.

        Raises InputError if the file is missing or an array does not fit it, or the options ask for
        a prior that the model does not hold.
        """
        live = sibling(path, "live")
        named = os.fspath(path).endswith(".live.onnx")
        if not named and not live.is_file():
            raise InputError(
                f"{live}: no such file: live streams need a graph of their own: write it with "
                "co2net-export --live"
            )
        backend = open_backend(
            path if named else live, backend="onnxruntime", device="cpu", threads=threads
        )
        contract = backend.contract
        try:
            if contract.graph != "live":
                raise InputError(f"{path}: not the graph for live streams")
            _check_given(contract, options, context, probabilities)
        except InputError:
            backend.close()
            raise
        return LivePool(backend, options, context, probabilities)

    @property
    def contract(self) -> Contract:
        """What the model says of itself."""
        return self._backend.contract

    def lookahead_s(self) -> float:
        """Return how far behind the stream the network's outputs are, in seconds."""
        return float(self.contract.timing.to_seconds(self.contract.receptive_field.attention))

    def received(self, stream: str) -> int:
        """Return how many snippets of the stream have been pushed; 0 for an unknown one."""
        return self._streams[stream].position if stream in self._streams else 0

    def push(self, blocks: Mapping[str, npt.NDArray[Any]]) -> list[Event]:
        """Take the next snippets (n, D), or the next one (D,), of some streams.

        A stream begins with its first push. Raises InputError if features do not fit the model;
        all streams then stand as before.
        """
        checked: dict[str, Features] = {}
        for name, features in blocks.items():
            rows = np.atleast_2d(np.asarray(features))
            if len(rows):
                checked[name] = check_features(rows, name, self.contract.feature_dim)
        events: list[Event] = []
        while checked:
            parts: dict[str, Features] = {}
            for name, rows in checked.items():
                if name not in self._streams:
                    self._streams[name] = self._new(name)
                count = self._streams[name].until_refresh()
                parts[name], checked[name] = rows[:count], rows[count:]
            events += self._step(parts)
            checked = {name: rows for name, rows in checked.items() if len(rows)}
        return events

    def flush(self, stream: str) -> list[Event]:
        """End a stream and forget it; return what is left of it."""
        if stream not in self._streams:
            return []
        ended = self._streams.pop(stream)
        step = Step(ended.carried, np.zeros((0, 0), np.float32), ended.seen_with)
        return ended.take(finish(self._backend.infer, self.contract, step), at_end=True)

    def skip(self, stream: str, snippets: int) -> list[Event]:
        """Leave a gap of lost snippets: what is open ends before it, times go on behind it."""
        if stream not in self._streams:
            self._streams[stream] = self._new(stream)
        ended = self._streams[stream]
        events = self.flush(stream)
        begun = self._streams[stream] = self._new(stream)
        begun.offset = ended.position + snippets
        begun.context, begun.seen_with = ended.context, ended.seen_with
        return events

    def state(self) -> State:
        """Return all that later events depend on, as arrays (np.savez writes them)."""
        arrays: State = {"model": np.array(self._identity())}
        for index, (name, stream) in enumerate(self._streams.items()):
            own = {"name": np.array(name), **stream.state()}
            arrays.update({f"{index}/{key}": value for key, value in own.items()})
        return arrays

    def restore(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Go on from what `state` returned, in place of all streams.

        Raises InputError if it belongs to another model or other options, or is damaged.
        """
        streams: dict[str, _Stream] = {}
        try:
            if str(state["model"]) != self._identity():
                raise InputError("the saved state belongs to another model or other options")
            index = 0
            while f"{index}/name" in state:
                prefix = f"{index}/"
                own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
                stream = self._new(str(own["name"]))
                stream.restore(own)
                streams[stream.name] = stream
                index += 1
        except (KeyError, ValueError, IndexError, TypeError) as error:
            raise InputError(f"the saved state is damaged ({error})") from error
        self._streams = streams

    def close(self) -> None:
        """Free the engine."""
        self._backend.close()

    def _step(self, parts: Mapping[str, Features]) -> list[Event]:
        streams = [self._streams[name] for name in parts]
        steps = [
            Step(stream.carried, features, stream.see(features))
            for stream, features in zip(streams, parts.values(), strict=True)
        ]
        found = advance(self._backend.infer, self.contract, steps)
        return [event for s, rows in zip(streams, found, strict=True) for event in s.take(rows)]

    def _new(self, name: str) -> "_Stream":
        contract, options = self.contract, self.options
        prior = np.array(contract.context_prior or np.zeros(contract.feature_dim))
        weight = float(contract.timing.to_snippets(options.prior_s))
        decay = 1.0
        if self._context is not None:
            prior, decay = self._context, 0.0
        elif options.context == "prior":
            decay = 0.0
        elif options.context == "exponential":
            decay = 0.5 ** (1 / float(contract.timing.to_snippets(options.half_life_s)))
        return _Stream(name, contract, options, Context(prior, weight, decay), self._probabilities)

    def _identity(self) -> str:
        """Return what a state is good for: checkpoint, options, and what was given beforehand."""
        digest = hashlib.sha256()
        for given in (self._context, self._probabilities):
            digest.update(b"-" if given is None else np.ascontiguousarray(given).tobytes())
        return json.dumps(
            [self.contract.checkpoint_sha256, to_mapping(self.options), digest.hexdigest()]
        )


class _Stream:
    """One stream: what the network and the decoder carry, and where it stands in time."""

    def __init__(
        self,
        name: str,
        contract: Contract,
        options: LiveOptions,
        context: Context,
        probabilities: Floats | None,
    ) -> None:
        self.name, self.context, self.offset = name, context, 0
        self.seen_with = context.mean()
        self.carried = Carried.initial(contract)
        self._contract, self._options = contract, options
        longest = options.longest_s
        self._components = Components(
            len(contract.classes),
            contract.decode,
            window=self._snippets(options.class_window_s),
            longest=None if longest is None else self._snippets(longest),
            probabilities=probabilities,
        )
        young = options.context != "prior" and probabilities is None
        self._warmup = self._snippets(options.warmup_s) if young else 0
        self._reported = 0

    @property
    def position(self) -> int:
        """Snippets of the stream so far, lost ones included."""
        return self.offset + self.carried.received

    def until_refresh(self) -> int:
        """Return how many snippets may follow until the context is taken anew."""
        received = self.carried.received
        return 1 if received < _REFRESH else _REFRESH - received % _REFRESH

    def see(self, features: Features) -> npt.NDArray[np.float32]:
        """Take the next snippets into the context; return the one to see them with."""
        received = self.carried.received
        if received == 0:  # a young stream has nothing but its first snippet
            self.context.update(features)
            self.seen_with = self.context.mean()
            return self.seen_with
        if received < _REFRESH or received % _REFRESH == 0:
            self.seen_with = self.context.mean()
        self.context.update(features)
        return self.seen_with

    def take(self, rows: npt.NDArray[np.float32], *, at_end: bool = False) -> list[Event]:
        """Take the network's next outputs (n, C + 2); return what is known now."""
        found = self._components.push(rows)
        if at_end:
            found += self._components.finish()
        events = [
            event for component, segments in found for event in self._final(component, segments)
        ]
        if self._options.provisional_s is not None and not at_end:
            events += self._ongoing(self._snippets(self._options.provisional_s))
        return events

    def state(self) -> State:
        return {
            **self._components.state(),
            "offset": np.array([self.offset, self.carried.received, self._reported]),
            "carried": self.carried.state,
            "pooled": self.carried.rows,
            "context": self.context.state(),
            "seen_with": self.seen_with,
        }

    def restore(self, state: State) -> None:
        self._components.restore(state)
        self.offset, self.carried.received, self._reported = (int(n) for n in state["offset"])
        if state["carried"].shape != self.carried.state.shape:
            raise ValueError("of another network")
        self.carried.state, self.carried.rows = state["carried"], state["pooled"]
        self.context.restore(state["context"])
        self.seen_with = state["seen_with"]

    def _snippets(self, seconds: float) -> int:
        return max(1, round(float(self._contract.timing.to_snippets(seconds))))

    def _seconds(self, snippet: int) -> float:
        return float(self._contract.timing.to_seconds(snippet + self.offset))

    def _final(self, component: Component, segments: SnippetSegments) -> list[Event]:
        ranks: dict[int, int] = {}
        events = []
        for start, end, score, label in zip(
            segments.start.tolist(), segments.end.tolist(), segments.score.tolist(),
            segments.label.tolist(), strict=True,
        ):  # fmt: skip
            ranks[label] = ranks.get(label, -1) + 1
            events.append(
                Event(
                    "segment",
                    self.name,
                    self._contract.classes[label],
                    self._seconds(start),
                    self._seconds(end),
                    score,
                    ranks[label],
                    self._seconds(self.carried.received),
                    component.start + self.offset < self._warmup,
                    component.cut,
                )
            )
        return events

    def _ongoing(self, every: int) -> list[Event]:
        start, seen = self._components.open_start, self._components.seen
        if start is None or seen - max(start, self._reported) < every:
            return []
        self._reported = seen
        return [
            Event(
                "ongoing",
                self.name,
                self._contract.classes[label],
                self._seconds(start),
                self._seconds(seen),
                score,
                0,
                self._seconds(self.carried.received),
                start + self.offset < self._warmup,
            )
            for label, score in self._components.ongoing()
        ]


def _check_given(
    contract: Contract,
    options: LiveOptions,
    context: npt.NDArray[np.float32] | None,
    probabilities: Floats | None,
) -> None:
    if context is not None and context.shape != (contract.feature_dim,):
        raise InputError(f"context: expected ({contract.feature_dim},), got {context.shape}")
    if probabilities is not None and probabilities.shape != (len(contract.classes),):
        raise InputError(
            f"probabilities: expected ({len(contract.classes)},), got {probabilities.shape}"
        )
    needs_prior = options.context == "prior" or options.prior_s > 0
    if needs_prior and context is None and not contract.context_prior:
        raise InputError(
            "this model holds no mean of its training features: export it with --live and "
            "--calibration DATA, or choose another context"
        )
