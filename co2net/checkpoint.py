"""One file that rebuilds the model by itself: weights, shape, classes, timing, decode options."""

import os
import pickle
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from co2net.config import ModelConfig
from co2net.model import CO2Net
from co2net_runtime.errors import InputError
from co2net_runtime.files.atomic import atomic_path
from co2net_runtime.files.records import from_mapping, to_mapping
from co2net_runtime.options import DecodeOptions, SnippetTiming

FORMAT = "co2net-checkpoint"
FORMAT_VERSION = 1

UNUSED_PREFIX = "feat_encoder."


@dataclass(frozen=True)
class Checkpoint:
    """A model and all that is known of it.

    weights: the state dict of CO2Net, on the CPU. provenance: plain values saying where the
    weights come from. training: state for resuming a run (tensors and plain values), or None.
    """

    model: ModelConfig
    classes: tuple[str, ...]
    weights: Mapping[str, Tensor]
    timing: SnippetTiming = SnippetTiming()
    decode: DecodeOptions = DecodeOptions()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if len(self.classes) != self.model.classes:
            raise InputError(
                f"the class list has {len(self.classes)} names, the model {self.model.classes} "
                "classes: give the list that the model was trained on"
            )
        if len(set(self.classes)) != len(self.classes):
            raise InputError("the class list names a class twice")

    def build(self) -> CO2Net:
        """Return the model with its weights, on the CPU, in evaluation mode."""
        model = CO2Net(self.model)
        model.load_state_dict(dict(self.weights))
        return model.eval()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file atomically. Raises InputError if the folder cannot be written."""
        content = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "model": to_mapping(self.model),
            "classes": list(self.classes),
            "timing": to_mapping(self.timing),
            "decode": to_mapping(self.decode),
            "provenance": dict(self.provenance),
            "training": None if self.training is None else dict(self.training),
            "weights": {name: value.detach().cpu() for name, value in self.weights.items()},
        }
        # to an open file: given a name, torch writes it into the archive, and equal checkpoints
        # would have other hashes
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            torch.save(content, file)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> "Checkpoint":
        """Read a co2net checkpoint; no pickled code is executed.

        Raises InputError if the file is missing, damaged, of another program, or if its parts
        do not fit together.
        """
        content = _read(path)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            if _looks_published(content):
                raise InputError(
                    f"{path}: a published CO2-Net state dict, no co2net checkpoint: pass "
                    "--published and --classes FILE"
                )
            raise InputError(
                f"{path}: not a co2net checkpoint (found {_describe(content)}): "
                "write one with co2net-train"
            )
        if content.get("version") != FORMAT_VERSION:
            raise InputError(
                f"{path}: checkpoint version {content.get('version')}, this program reads "
                f"{FORMAT_VERSION}: update co2net"
            )
        try:
            model = from_mapping(ModelConfig, content["model"], f"{path}: model")
            checkpoint = Checkpoint(
                model=model,
                classes=tuple(content["classes"]),
                weights=content["weights"],
                timing=from_mapping(SnippetTiming, content["timing"], f"{path}: timing"),
                decode=from_mapping(DecodeOptions, content["decode"], f"{path}: decode"),
                provenance=content["provenance"],
                training=content["training"],
            )
        except KeyError as error:
            raise InputError(f"{path}: a damaged co2net checkpoint: no {error} in it") from error
        _check_weights(checkpoint.weights, model, path)
        return checkpoint

    @staticmethod
    def from_published(
        path: str | os.PathLike[str],
        *,
        classes: Sequence[str],
        pool_kernel: int = 1,
        timing: SnippetTiming | None = None,
        decode: DecodeOptions | None = None,
    ) -> "Checkpoint":
        """Read a state dict of the published program.

        classes: its class names in training order. pool_kernel: 1 for CO2; for ANT_CO2 the
        pooling kernel, which the file does not hold (13 for max_seqlen 60, t 5). The other
        dimensions are read off the weights; the unused feat_encoder is dropped.

        Raises InputError if the file is missing, damaged or no such state dict, or the class list
        has another length than the classifier.
        """
        content = _read(path)
        if not _looks_published(content):
            raise InputError(
                f"{path}: not a published CO2-Net state dict (found {_describe(content)})"
            )
        weights = {
            name: value.detach().float().contiguous()
            for name, value in content.items()
            if not name.startswith(UNUSED_PREFIX)
        }
        try:
            model = ModelConfig(
                classes=weights["classifier.4.weight"].shape[0] - 1,
                rgb_dim=weights["vAttn.channel_conv.0.weight"].shape[0],
                flow_dim=weights["fAttn.channel_conv.0.weight"].shape[0],
                attention_dim=weights["vAttn.attention.0.weight"].shape[0],
                embed_dim=weights["fusion.0.weight"].shape[0],
                pool_kernel=pool_kernel,
            )
        except (KeyError, ValueError, IndexError) as error:
            raise InputError(f"{path}: the state dict is incomplete: {error}") from error
        _check_weights(weights, model, path)
        if len(classes) != model.classes:
            raise InputError(
                f"{path}: the classifier has {model.classes} classes, the class list "
                f"{len(classes)}: give the list that the model was trained on"
            )
        return Checkpoint(
            model=model,
            classes=tuple(classes),
            weights=weights,
            timing=timing or SnippetTiming(),
            decode=decode or DecodeOptions(),
            provenance={"source": "published state dict", "file": Path(path).name},
        )


def _read(path: str | os.PathLike[str]) -> Any:
    file = Path(path)
    if not file.is_file():
        raise InputError(f"{path}: no such file")
    if file.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty")
    try:
        with warnings.catch_warnings():
            # torch warns of pickles that it did not write; those that matter are refused below
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path}: not a checkpoint, or one that holds more than tensors and plain values "
            "(loading it could execute code, so it is refused)"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: damaged or truncated, or not a checkpoint") from error


def _looks_published(content: Any) -> bool:
    return (
        isinstance(content, Mapping)
        and "vAttn.channel_conv.0.weight" in content
        and all(isinstance(value, Tensor) for value in content.values())
    )


def _describe(content: Any) -> str:
    if isinstance(content, Mapping):
        names = ", ".join(repr(str(name)) for name in list(content)[:3])
        return f"a mapping with the keys {names}, ..." if names else "an empty mapping"
    return f"a {type(content).__name__}"


def _check_weights(
    weights: Mapping[str, Tensor], model: ModelConfig, path: str | os.PathLike[str]
) -> None:
    with torch.device("meta"):
        expected = CO2Net(model).state_dict()
    for name, value in expected.items():
        if name not in weights:
            raise InputError(f"{path}: the weight {name} is missing")
        found = weights[name]
        if not isinstance(found, Tensor) or found.shape != value.shape:
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise InputError(
                f"{path}: the weight {name} has shape {shape}, expected {tuple(value.shape)}"
            )
    for name in weights:
        if name not in expected:
            raise InputError(f"{path}: unknown weight {name}")
