"""A file that rebuilds the model by itself: weights, shape, classes, timing, decode options."""

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
from co2net_runtime.files.inputs import require_file
from co2net_runtime.files.records import from_mapping, to_mapping
from co2net_runtime.files.text import number_of
from co2net_runtime.options import DecodeOptions, SnippetTiming

FORMAT = "co2net-checkpoint"
FORMAT_VERSION = 1

UNUSED_PREFIX = "feat_encoder."

# where training programs put a state dict, and what wrappers of a network put before its names
WRAPPERS = ("state_dict", "model_state_dict", "model")
WRAPPER_PREFIXES = ("_orig_mod.", "module.")


@dataclass(frozen=True)
class Checkpoint:
    """A model and everything known about it.

    Example:
        >>> checkpoint = Checkpoint.load("runs/a/best.ckpt")
        >>> network = checkpoint.build()
    """

    model: ModelConfig  # shape of the network
    classes: tuple[str, ...]  # names in index order
    weights: Mapping[str, Tensor]  # state dict of CO2Net, on the CPU
    timing: SnippetTiming = SnippetTiming()  # how the features' snippets relate to seconds
    decode: DecodeOptions = DecodeOptions()  # how outputs become segments
    provenance: Mapping[str, Any] = field(default_factory=dict)  # where the weights come from
    extraction: Mapping[str, Any] | None = None  # how the features were extracted; None: unknown
    training: Mapping[str, Any] | None = None  # tensors and plain values to resume from

    def __post_init__(self) -> None:
        if len(self.classes) != self.model.classes:
            raise InputError(
                f"the class list has {number_of(len(self.classes), 'name')}, the model "
                f"{self.model.classes} "
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
        """Write the file; an earlier one stays until the new one is complete and on disk.

        Raises InputError if it cannot be written (no permission, disk full).
        """
        content = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "model": to_mapping(self.model),
            "classes": list(self.classes),
            "timing": to_mapping(self.timing),
            "decode": to_mapping(self.decode),
            "provenance": dict(self.provenance),
            "extraction": None if self.extraction is None else dict(self.extraction),
            "training": None if self.training is None else dict(self.training),
            "weights": {name: value.detach().cpu() for name, value in self.weights.items()},
        }
        write_torch(path, content)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> "Checkpoint":
        """Read a co2net checkpoint; no pickled code is executed.

        Args:
            path: The file.

        Returns:
            The checkpoint, its tensors on the CPU.

        Raises:
            InputError: The file is missing, damaged, of another program, or its parts do not fit
                together.
        """
        content = _read(path)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            if _published_weights(content) is not None:
                raise InputError(
                    f"{path}: a published CO2-Net state dict, not a co2net checkpoint: pass "
                    "--published and --classes FILE"
                )
            raise InputError(
                f"{path}: not a co2net checkpoint (found {_describe(content)}): "
                "write one with co2net-train"
            )
        if content.get("version") != FORMAT_VERSION:
            raise InputError(
                f"{path}: checkpoint version {content.get('version')!r}, this program reads "
                f"{FORMAT_VERSION}: update co2net"
            )
        try:
            checkpoint = Checkpoint(
                model=from_mapping(ModelConfig, content["model"], f"{path}: model"),
                classes=_names(content["classes"]),
                weights=_unwrapped(content["weights"]),
                timing=from_mapping(SnippetTiming, content["timing"], f"{path}: timing"),
                decode=from_mapping(DecodeOptions, content["decode"], f"{path}: decode"),
                provenance=dict(content["provenance"]),
                extraction=_optional_mapping(content.get("extraction")),
                training=_optional_mapping(content["training"]),
            )
        except KeyError as error:
            raise InputError(f"{path}: a damaged co2net checkpoint: no {error} in it") from error
        except (TypeError, ValueError) as error:
            raise InputError(f"{path}: a damaged co2net checkpoint: {error}") from error
        _check_weights(checkpoint.weights, checkpoint.model, path)
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

        Names may begin with "module." (as DataParallel writes them), and the state dict may be
        wrapped, as in {"state_dict": ...}. The unused feat_encoder is dropped.

        Args:
            path: The file.
            classes: The program's class names in training order.
            pool_kernel: 1 for CO2; for ANT_CO2 the pooling kernel, which the file does not hold
                (13 for max_seqlen 60, t 5). The other dimensions are read off the weights.
            timing: Of the features; by default 16 frames at 25 fps.
            decode: By default the published constants.

        Returns:
            The checkpoint, its weights float32.

        Raises:
            InputError: The file is missing, damaged or not such a state dict, or the class list
                has another length than the classifier.
        """
        content = _read(path)
        found = _published_weights(content)
        if found is None:
            raise InputError(
                f"{path}: not a published CO2-Net state dict (found {_describe(content)})"
            )
        for name, value in found.items():
            _check_tensor(value, name, path)
        weights = {
            name: value.detach().float().contiguous()
            for name, value in found.items()
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
                f"{path}: the classifier has {number_of(model.classes, 'class')}, the class list "
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


def write_torch(path: str | os.PathLike[str], content: Any) -> None:
    """Write tensors and plain values with torch.save, atomically.

    Raises InputError if the file cannot be written (no permission, disk full).
    """
    # to an open file: given a name, torch writes it into the archive, and equal checkpoints
    # would have different hashes
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:
            # a write that fails makes torch's writer fail once more while it closes
            if isinstance(error.__context__, OSError):
                raise error.__context__ from error
            raise


def _read(path: str | os.PathLike[str]) -> Any:
    file = require_file(path)
    if file.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty")
    try:
        _check_archive(file)
        with warnings.catch_warnings():
            # torch warns about pickles that it did not write; those that matter are refused below
            warnings.simplefilter("ignore")
            return torch.load(file, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path}: not a checkpoint, or one that holds more than tensors and plain values "
            "(loading it could execute code, so it is refused)"
        ) from error
    except PermissionError as error:
        raise InputError(f"{path}: cannot read it: {error.strerror}") from error
    except Exception as error:
        # the bytes decide which operation of the unpickler fails, and so the exception's type
        raise InputError(f"{path}: damaged or truncated, or not a checkpoint") from error


def _check_archive(file: Path) -> None:
    """Raise InputError if a zip file unpacks to more than itself, as torch never writes it."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > file.stat().st_size:
                raise InputError(f"{file}: damaged, or not a checkpoint: it is compressed")


def _published_weights(content: Any) -> dict[str, Tensor] | None:
    """Return the published state dict in a file's content without wrappers, None if none is."""
    if not isinstance(content, Mapping):
        return None
    for key in WRAPPERS:
        if isinstance(content.get(key), Mapping):
            content = content[key]
            break
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            return None
    weights: dict[str, Tensor] = _unwrapped(content)
    return weights if "vAttn.channel_conv.0.weight" in weights else None


def _unwrapped(weights: Any) -> Any:
    """Return a state dict without the prefixes of wrappers before its names."""
    if not isinstance(weights, Mapping):
        return weights
    found = {}
    for name, value in weights.items():
        for prefix in WRAPPER_PREFIXES if isinstance(name, str) else ():
            name = name.removeprefix(prefix)
        found[name] = value
    return found


def _names(values: Any) -> tuple[str, ...]:
    if not isinstance(values, (list, tuple)) or not all(isinstance(name, str) for name in values):
        raise TypeError("its class list is not a list of names")
    return tuple(values)


def _optional_mapping(value: Any) -> dict[str, Any] | None:
    if value is not None and not isinstance(value, Mapping):
        raise TypeError(f"a {type(value).__name__} where a mapping belongs")
    return None if value is None else dict(value)


def _describe(content: Any) -> str:
    if isinstance(content, Mapping):
        names = ", ".join(repr(str(name)[:60]) for name in list(content)[:3])
        return f"a mapping with the keys {names}, ..." if names else "an empty mapping"
    return f"a {type(content).__name__}"


def _check_weights(weights: Any, model: ModelConfig, path: str | os.PathLike[str]) -> None:
    if not isinstance(weights, Mapping):
        raise InputError(f"{path}: a damaged co2net checkpoint: its weights are not a mapping")
    try:
        with torch.device("meta"):
            expected = CO2Net(model).state_dict()
    except (RuntimeError, TypeError, OverflowError) as error:
        raise InputError(f"{path}: no network has the shape that it states: {model}") from error
    for name, value in expected.items():
        if name not in weights:
            raise InputError(f"{path}: the weight {name} is missing")
        found = weights[name]
        if not isinstance(found, Tensor) or found.shape != value.shape:
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise InputError(
                f"{path}: the weight {name} has shape {shape}, expected {tuple(value.shape)}"
            )
        _check_tensor(found, name, path)
        if not torch.isfinite(found).all():
            raise InputError(f"{path}: the weight {name} holds NaN or infinity: not usable")
    for name in weights:
        if name not in expected:
            raise InputError(f"{path}: unknown weight {str(name)[:60]}")


def _check_tensor(value: Tensor, name: str, path: str | os.PathLike[str]) -> None:
    """Raise InputError unless the file held each number of a floating-point tensor."""
    whole = (
        value.layout == torch.strided
        and value.device.type == "cpu"
        and value.is_floating_point()
        and value.untyped_storage().nbytes() >= value.numel() * value.element_size()
    )
    if not whole:
        raise InputError(
            f"{path}: the weight {str(name)[:60]} is not a whole floating-point tensor "
            f"({value.dtype}, {value.layout})"
        )
