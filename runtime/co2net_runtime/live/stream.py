"""One live stream: the network's outputs -> events, and its memory from push to push.

A segment is emitted once, when its component at the lowest attention threshold has closed and its
outer margin is known, and never retracted.
"""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from co2net_runtime.artefact.contract import Contract
from co2net_runtime.decoding.proposals import Floats, SnippetSegments
from co2net_runtime.detections import confidences
from co2net_runtime.features import Features
from co2net_runtime.live.components import Component, Components
from co2net_runtime.live.steps import StreamState
from co2net_runtime.live.temporal_mean import ContextName, TemporalMean

StateArrays = dict[str, npt.NDArray[Any]]

# Refresh the mean at each of the first 8 snippets, then every 8 snippets: at fixed positions, so
# that results do not depend on block sizes.
_REFRESH = 8


@dataclass(frozen=True)
class LiveOptions:
    """How a stream is localized while it runs. Times are seconds of the stream.

    Example:
        >>> LiveOptions(context="exponential", half_life_s=60.0, longest_s=None).warmup_s
        60.0
    """

    # replaces the mean of the whole video: "running", the mean so far; "exponential", one that
    # forgets; "prior", the mean of the training videos, from the model
    context: ContextName = "running"
    half_life_s: float = 300.0  # of the exponential mean
    prior_s: float = 0.0  # seconds of stream that the prior counts as in the other two; 0: none
    class_window_s: float = 320.0  # the classes are those of these last seconds
    # a longer component is cut where attention is lowest in its second half; None: any length, and
    # all outputs of the network are kept
    longest_s: float | None = 20.0
    warmup_s: float = 60.0  # segments that begin earlier are marked: the mean is young
    provisional_s: float | None = None  # how often an open component is reported; None: never

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
    """A segment, or an action that has not ended. Times are seconds from the stream's beginning."""

    kind: Literal["segment", "ongoing"]  # final, or not yet ended
    stream: str
    label: str
    start_s: float
    end_s: float  # of an ongoing one: how far the network has seen
    score: float
    rank: int  # among the segments of its component and class; 0 is the best
    at_s: float  # how much of the stream this needed; does not depend on the blocks pushed
    warmup: bool = False  # the mean was young
    cut: bool = False  # the component was too long
    id: str = ""  # of the component: the same from its first "ongoing" to its last segment
    confidence: float = field(init=False)  # the score between 0 and 1, as `confidences` says

    def __post_init__(self) -> None:
        object.__setattr__(self, "confidence", float(confidences(self.score)))


class Stream:
    """One stream: the memory of the network and of the decoder, and the place in time."""

    def __init__(
        self,
        name: str,
        contract: Contract,
        options: LiveOptions,
        mean: TemporalMean,
        probabilities: Floats | None,
    ) -> None:
        self.name, self.mean, self.offset = name, mean, 0
        self.seen_with = mean.mean()
        self.memory = StreamState.initial(contract)
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
        return self.offset + self.memory.received

    def until_refresh(self) -> int:
        """Return how many snippets may follow before the mean is refreshed."""
        received = self.memory.received
        return 1 if received < _REFRESH else _REFRESH - received % _REFRESH

    def see(self, features: Features) -> npt.NDArray[np.float32]:
        """Take the next snippets into the mean; return the mean to see them with."""
        received = self.memory.received
        if received == 0:  # a young stream has nothing but its first snippet
            self.mean.update(features)
            self.seen_with = self.mean.mean()
            return self.seen_with
        if received < _REFRESH or received % _REFRESH == 0:
            self.seen_with = self.mean.mean()
        self.mean.update(features)
        return self.seen_with

    def take(self, rows: npt.NDArray[np.float32], *, at_end: bool = False) -> list[Event]:
        """Take the network's next outputs (n, C + 2); return the events known now."""
        events: list[Event] = []
        # one by one: what is known at each, and with it at_s, does not depend on the blocks
        for index in range(len(rows)):
            events += self._final(self._components.push(rows[index : index + 1]))
            if self._options.provisional_s is not None and not at_end:
                events += self._ongoing(self._snippets(self._options.provisional_s))
        return events + (self._final(self._components.finish()) if at_end else [])

    def state(self) -> StateArrays:
        """Return everything that later events depend on, as arrays."""
        return {
            **self._components.state(),
            "offset": np.array([self.offset, self.memory.received, self._reported]),
            "carried": self.memory.state,
            "pooled": self.memory.rows,
            "context": self.mean.state(),
            "seen_with": self.seen_with,
        }

    def restore(self, state: StateArrays) -> None:
        """Go on from what `state` returned.

        Raises:
            ValueError: It is of another network, or not what this program wrote.
        """
        own = self.state()
        for name, array in own.items():
            if state[name].dtype != array.dtype:
                raise ValueError(f"{name}: not {array.dtype}")
        for name in ("carried", "pooled", "context", "seen_with"):
            expected = own[name].shape
            if name == "pooled":  # as many rows as have come, up to one less than the kernel
                kernel = self._contract.pool_kernel
                fits = kernel // 2 <= len(state[name]) < max(kernel, 1)
                expected = (len(state[name]) if fits else kernel // 2, *expected[1:])
            if state[name].shape != expected or not np.isfinite(state[name]).all():
                raise ValueError(f"{name}: of another network, or not finite")
        offset, received, reported = (int(number) for number in state["offset"])
        self._components.restore(state)
        seen = max(0, received - self._contract.receptive_field.attention)
        if offset < 0 or self._components.seen != seen or not 0 <= reported <= seen:
            raise ValueError("counters that contradict each other")
        self.offset, self.memory.received, self._reported = offset, received, reported
        self.memory.state, self.memory.rows = state["carried"], state["pooled"]
        self.mean.restore(state["context"])
        self.seen_with = state["seen_with"]

    def _snippets(self, seconds: float) -> int:
        return max(1, round(seconds / self._contract.timing.snippet_s))

    def _seconds(self, snippet: int) -> float:
        return float(self._contract.timing.to_seconds(snippet + self.offset))

    def _id(self, start: int) -> str:
        return f"{self.name}/{start + self.offset}"

    @property
    def _needed_s(self) -> float:
        """How much of the stream the outputs taken so far depend on."""
        lookahead = self._contract.receptive_field.attention
        return self._seconds(min(self._components.seen + lookahead, self.memory.received))

    def _final(self, found: list[tuple[Component, SnippetSegments]]) -> list[Event]:
        return [event for component, segments in found for event in self._rank(component, segments)]

    def _rank(self, component: Component, segments: SnippetSegments) -> list[Event]:
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
                    self._needed_s,
                    component.start + self.offset < self._warmup,
                    component.cut,
                    self._id(component.start),
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
                self._needed_s,
                start + self.offset < self._warmup,
                id=self._id(start),
            )
            for label, score in self._components.ongoing()
        ]
