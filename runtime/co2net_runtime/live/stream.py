"""One live stream: the network's outputs -> events, and all that it carries from push to push.

A segment is emitted once, when its component at the lowest attention threshold has closed and its
outer margin is known, and never retracted.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from co2net_runtime.artefact.contract import Contract
from co2net_runtime.decoding.proposals import Floats, SnippetSegments
from co2net_runtime.features import Features
from co2net_runtime.live.components import Component, Components
from co2net_runtime.live.steps import Carried
from co2net_runtime.live.temporal_mean import Context, ContextName

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
    longest_s: a component that grows longer is cut where attention is lowest in its second half;
    with None it may have any length, and all outputs of the network are kept.
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


class Stream:
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
        """Return all that later events depend on, as arrays."""
        return {
            **self._components.state(),
            "offset": np.array([self.offset, self.carried.received, self._reported]),
            "carried": self.carried.state,
            "pooled": self.carried.rows,
            "context": self.context.state(),
            "seen_with": self.seen_with,
        }

    def restore(self, state: State) -> None:
        """Go on from what `state` returned. Raises ValueError if it is of another network."""
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
