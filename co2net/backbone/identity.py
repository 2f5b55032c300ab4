"""Which of DeepMind's published I3D weights a state dict is."""

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

import numpy as np
import torch

from co2net.backbone.crc32c import masked_crc32c
from co2net_runtime.artefact.backbone import UNKNOWN_WEIGHTS

State = Mapping[str, torch.Tensor]
# DeepMind's batch normalization has no scale: these are ones, and have no checksum
SCALE = ".bn.weight"
COUNTER = ".bn.num_batches_tracked"


def identify(state: State) -> str:
    """Return the name of the published weights that a state dict holds.

    Args:
        state: State dict of an `I3D`.

    Returns:
        "rgb_imagenet", "flow_imagenet", "rgb_scratch" or "flow_scratch" if every tensor has the
        checksum that DeepMind's checkpoint states for it; otherwise "unknown".
    """
    names = sorted(name for name in state if not name.endswith((SCALE, COUNTER)))
    scales = [state[name] for name in state if name.endswith(SCALE)]
    candidates = dict(published())
    if not all(bool((scale == 1).all()) for scale in scales):
        return UNKNOWN_WEIGHTS
    for name in names:
        crc = checksum(state[name])
        candidates = {
            weights: checksums
            for weights, checksums in candidates.items()
            if len(checksums) == len(names) and checksums.get(name) == crc
        }
        if not candidates:
            return UNKNOWN_WEIGHTS
    return next(iter(candidates), UNKNOWN_WEIGHTS)


def checksum(tensor: torch.Tensor) -> int:
    """Return the masked CRC-32C of a tensor in TensorFlow's layout.

    Args:
        tensor: Convolution weights (out, in, t, h, w), or a vector.
    """
    if tensor.dim() == 5:
        tensor = tensor.permute(2, 3, 4, 1, 0)
    return masked_crc32c(tensor.float().numpy())


@cache
def published() -> Mapping[str, Mapping[str, int]]:
    """Return the checksums by the name of the weights and of the tensor.

    Source: the checkpoint indices in google-deepmind/kinetics-i3d.
    """
    text = files("co2net.backbone").joinpath("checksums.json").read_text(encoding="utf-8")
    stored = json.loads(text)
    names = stored["tensors"]
    return {
        weights: {
            name: int(digits[8 * index : 8 * index + 8], 16) for index, name in enumerate(names)
        }
        for weights, digits in stored["masked_crc32c"].items()
    }


def weights_sha256(state: State) -> str:
    """Return a SHA-256 of the numbers in a state dict, whatever file they came from.

    Over names, shapes and little-endian float32 in the order of the names; BatchNorm's counters
    do not count.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        if not name.endswith(COUNTER):
            digest.update(f"{name} {tuple(state[name].shape)}\n".encode())
            numbers = state[name].float().contiguous().numpy()
            digest.update(np.ascontiguousarray(numbers, dtype="<f4").data)
    return digest.hexdigest()
