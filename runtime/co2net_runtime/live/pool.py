"""Streams of features -> events while they happen: one model, any number of streams.

Snippets arrive one by one or in blocks; streams pushed together share a batch of the network.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from co2net_runtime.artefact.contract import Contract
from co2net_runtime.backends import Backend, EngineOptions
from co2net_runtime.backends.selection import open_backend
from co2net_runtime.decoding.proposals import Floats
from co2net_runtime.errors import InputError
from co2net_runtime.features import Features, check_features
from co2net_runtime.files.records import to_mapping
from co2net_runtime.live.steps import Step, advance, finish
from co2net_runtime.live.stream import Event, LiveOptions, State, Stream
from co2net_runtime.live.temporal_mean import Context
from co2net_runtime.network.chunks import sibling

__all__ = ["Event", "LiveLocalizer", "LiveOptions", "LivePool"]


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
        backend: Backend[Contract],
        options: LiveOptions,
        context: npt.NDArray[np.float32] | None,
        probabilities: Floats | None,
    ) -> None:
        """Use `LivePool.load`."""
        self._backend, self.options = backend, options
        self._context, self._probabilities = context, probabilities
        self._streams: dict[str, Stream] = {}

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
        engine = EngineOptions(backend="onnxruntime", device="cpu", threads=threads)
        backend = open_backend(path if named else live, engine)
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
        streams: dict[str, Stream] = {}
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

    def _new(self, name: str) -> "Stream":
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
        return Stream(name, contract, options, Context(prior, weight, decay), self._probabilities)

    def _identity(self) -> str:
        """Return what a state is good for: checkpoint, options, and what was given beforehand."""
        digest = hashlib.sha256()
        for given in (self._context, self._probabilities):
            digest.update(b"-" if given is None else np.ascontiguousarray(given).tobytes())
        return json.dumps(
            [self.contract.checkpoint_sha256, to_mapping(self.options), digest.hexdigest()]
        )


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
