"""Streams of features -> events while they happen: one model, any number of streams.

Snippets arrive one by one or in blocks; streams pushed together share a batch of the network.
"""

import copy
import hashlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from co2net_runtime.artefact.contract import Contract
from co2net_runtime.backends import Backend, EngineInfo, EngineOptions
from co2net_runtime.backends.selection import open_backend
from co2net_runtime.decoding.proposals import Floats
from co2net_runtime.errors import InputError
from co2net_runtime.features import Features, check_features
from co2net_runtime.files.hub import local_model
from co2net_runtime.files.records import to_mapping
from co2net_runtime.live.steps import Step, advance, finish
from co2net_runtime.live.stream import Event, LiveOptions, StateArrays, Stream
from co2net_runtime.live.temporal_mean import TemporalMean
from co2net_runtime.network.chunks import sibling

__all__ = ["Event", "LiveLocalizer", "LiveOptions", "LivePool"]

logger = logging.getLogger(__name__)

Live = TypeVar("Live", bound="LivePool")


def live_path(path: str | os.PathLike[str]) -> Path:
    """Return MODEL.live.onnx beside MODEL.onnx, or the path itself if it is that of one."""
    return Path(path) if os.fspath(path).endswith(".live.onnx") else sibling(path, "live")


class LivePool:
    """Localizes actions in many streams with one model; streams pushed together share a batch.

    Attributes:
        options: How the streams are localized.
        restarted: Streams in whose last push the network's output was not finite. Those snippets
            are lost, as if by `skip`, and the stream continues after them.

    Example:
        >>> with LivePool.load("model.onnx") as pool:  # doctest: +SKIP
        ...     events = pool.push({"door": door, "yard": yard})  # each (n, D) float32
        ...     events += pool.flush("door")
    """

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
        self.restarted: set[str] = set()

    @classmethod
    def load(
        cls: type[Live],
        path: str | os.PathLike[str],
        options: LiveOptions = LiveOptions(),
        *,
        context: npt.NDArray[np.float32] | None = None,
        probabilities: Floats | None = None,
        engine: EngineOptions = EngineOptions(device="cpu"),
    ) -> Live:
        """Open MODEL.live.onnx, beside MODEL.onnx or named itself; it runs on the CPU.

        Args:
            path: The model.
            options: How the streams are localized.
            context: (D,) the temporal mean of the whole stream, if known, for example from a first
                pass over a file.
            probabilities: (C,) the class probabilities of the whole stream, if known. With both,
                and longest_s None, the segments are those of `Localizer`.
            engine: How to run the model; "auto" is the CPU, too.

        Raises:
            InputError: The file is missing, an array does not fit it, the options ask for a
                prior that the model does not hold, or the engine for a GPU.
            MissingDependencyError: The engine is not installed.
            BackendError: The engine refuses the model.
        """
        path = local_model(path)
        live = live_path(path)
        if live != Path(path) and not live.is_file():
            raise InputError(
                f"{live}: no such file: live streams need a graph of their own: write it with "
                "co2net-export --live"
            )
        backend = open_backend(live, _on_cpu(engine))
        contract = backend.contract
        try:
            if contract.graph != "live":
                raise InputError(f"{path}: not the graph for live streams")
            _check_given(contract, options, context, probabilities)
        except InputError:
            backend.close()
            raise
        return cls(backend, options, context, probabilities)

    @property
    def engine(self) -> EngineInfo:
        """The engine, its device and precision."""
        return self._backend.info

    @property
    def contract(self) -> Contract:
        """The contract of the model."""
        return self._backend.contract

    def lookahead_s(self) -> float:
        """Return how far behind the stream the network's outputs are, in seconds."""
        return self.contract.receptive_field.attention * self.contract.timing.snippet_s

    def received(self, stream: str) -> int:
        """Return how many snippets of the stream have been pushed; 0 for an unknown one."""
        return self._streams[stream].position if stream in self._streams else 0

    def push(self, blocks: Mapping[str, npt.NDArray[Any]]) -> list[Event]:
        """Take the next snippets of some streams; a stream begins with its first push.

        Args:
            blocks: For each stream its next snippets (n, D), or its next one (D,), floating-point.

        Returns:
            The events known now. All pushes together give the same events, however the snippets
            are cut into blocks.

        Raises:
            InputError: Features do not fit the model, or hold NaN; no stream has moved on.
            BackendError: The engine fails.
        """
        self.restarted = set()
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
        """End a stream and forget it.

        Args:
            stream: Its name; an unknown one has no events.

        Returns:
            The events that were still open.

        Raises:
            BackendError: The engine fails.
        """
        if stream not in self._streams:
            return []
        ended = self._streams.pop(stream)
        step = Step(ended.memory, np.zeros((0, 0), np.float32), ended.seen_with)
        rows = finish(self._backend.infer, self.contract, step)
        finite = np.isfinite(rows).all(axis=1)
        return ended.take(rows if finite.all() else rows[: int(finite.argmin())], at_end=True)

    def skip(self, stream: str, snippets: int) -> list[Event]:
        """Leave a gap: open components end before it, and times continue after it.

        Args:
            stream: Its name.
            snippets: The number of snippets that were lost.

        Returns:
            The events that end at the gap.

        Raises:
            BackendError: The engine fails.
        """
        if stream not in self._streams:
            self._streams[stream] = self._new(stream)
        ended = self._streams[stream]
        events = self.flush(stream)
        begun = self._streams[stream] = self._new(stream)
        begun.offset = ended.position + snippets
        begun.mean, begun.seen_with = ended.mean, ended.seen_with
        return events

    def state(self) -> StateArrays:
        """Return everything that later events depend on, as arrays (np.savez writes them)."""
        arrays: StateArrays = {"model": np.array(self._identity())}
        for index, (name, stream) in enumerate(self._streams.items()):
            own = {"name": np.array(name), **stream.state()}
            arrays.update({f"{index}/{key}": value for key, value in own.items()})
        return arrays

    def restore(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Replace all streams by those of a saved state.

        Args:
            state: What `state` returned.

        Raises:
            InputError: It belongs to another model or other options, or is damaged.
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
        except (KeyError, ValueError, IndexError, TypeError, OverflowError) as error:
            raise InputError(f"damaged, no state of streams ({error})") from error
        self._streams = streams

    def close(self) -> None:
        """Free the engine."""
        self._backend.close()

    def __enter__(self: Live) -> Live:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _step(self, parts: Mapping[str, Features]) -> list[Event]:
        streams = [self._streams[name] for name in parts]
        before = [(copy.copy(s.memory), copy.copy(s.mean), s.seen_with) for s in streams]
        steps = [
            Step(stream.memory, features, stream.see(features))
            for stream, features in zip(streams, parts.values(), strict=True)
        ]
        found = advance(self._backend.infer, self.contract, steps)
        events: list[Event] = []
        for stream, rows, earlier, step in zip(streams, found, before, steps, strict=True):
            if np.isfinite(rows).all() and np.isfinite(stream.memory.state).all():
                events += stream.take(rows)
                continue
            # the snippets must not stay in what the stream remembers
            stream.memory, stream.mean, stream.seen_with = earlier
            logger.warning(
                "%s: the network's output is not finite near snippet %d: the features are bad; "
                "left out",
                stream.name,
                stream.position,
            )
            self.restarted.add(stream.name)
            events += self.skip(stream.name, len(step.features))
        return events

    def _new(self, name: str) -> Stream:
        contract, options = self.contract, self.options
        prior = np.array(contract.context_prior or np.zeros(contract.feature_dim))
        weight = options.prior_s / contract.timing.snippet_s
        decay = 1.0
        if self._context is not None:
            prior, decay = self._context, 0.0
        elif options.context == "prior":
            decay = 0.0
        elif options.context == "exponential":
            decay = 0.5 ** (contract.timing.snippet_s / options.half_life_s)
        mean = TemporalMean(prior, weight, decay)
        return Stream(name, contract, options, mean, self._probabilities)

    def _identity(self) -> str:
        """Return the identity of a state: checkpoint, options, and the arrays given to `load`."""
        digest = hashlib.sha256()
        for given in (self._context, self._probabilities):
            digest.update(b"-" if given is None else np.ascontiguousarray(given).tobytes())
        return json.dumps(
            [self.contract.checkpoint_sha256, to_mapping(self.options), digest.hexdigest()]
        )


class LiveLocalizer(LivePool):
    """A LivePool for one stream, called "live".

    Example:
        >>> with LiveLocalizer.load("model.onnx") as live:  # doctest: +SKIP
        ...     for features in camera:  # (D,) or (n, D) float32
        ...         print(live.push(features))
        ...     print(live.flush())
    """

    def push(self, blocks: Mapping[str, npt.NDArray[Any]] | npt.NDArray[Any]) -> list[Event]:
        """Take the next snippets (n, D), or the next one (D,); return the events known now."""
        return super().push(blocks if isinstance(blocks, Mapping) else {"live": blocks})

    def flush(self, stream: str = "live") -> list[Event]:
        """End the stream; return the events left. The next push begins another one at 0 s."""
        return super().flush(stream)


def _on_cpu(engine: EngineOptions) -> EngineOptions:
    """Return the options for the CPU; raises InputError if they name another device."""
    if engine.device not in ("auto", "cpu") or "tensorrt" in engine.backend:
        asked = engine.backend if "tensorrt" in engine.backend else engine.device
        raise InputError(
            f"{asked}: live streams run on the CPU, where a snippet takes a few milliseconds: "
            "choose the device cpu and the backend onnxruntime or openvino"
        )
    return replace(engine, device="cpu")


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
            "--data DATA, or choose another context"
        )
