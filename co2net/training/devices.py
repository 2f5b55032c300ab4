"""Where training runs, and the error when it does not fit there."""

import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from co2net_runtime.errors import BackendError, Co2netError
from co2net_runtime.files.text import number_of


class OutOfMemory(Co2netError):
    """The device has no memory left."""


def resolve_device(name: str) -> torch.device:
    """Return the device: cpu, cuda, mps, or the best one available for auto.

    Raises BackendError if the requested one is not available.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(device for device, is_there in available.items() if is_there)
    if not available[name]:
        there = ", ".join(device for device, is_there in available.items() if is_there)
        raise BackendError(
            f"this torch ({torch.__version__}) finds no {name} device here (it finds: {there}): "
            "install the torch build for it, or pass another --device"
        )
    return torch.device(name)


def describe_device(device: torch.device) -> str:
    """Describe a device: "cuda (NVIDIA ..., 80 GiB)", "cpu (x86_64, 2 threads)"."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return f"cuda ({properties.name}, {properties.total_memory / 2**30:.0f} GiB)"
    if device.type == "cpu":
        return f"cpu ({platform.machine()}, {number_of(torch.get_num_threads(), 'thread')})"
    return device.type


@contextmanager
def explained_memory(device: torch.device, work: str, advice: str) -> Iterator[None]:
    """Turn out-of-memory errors into OutOfMemory, naming the work and the advice."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        # the CPU allocator raises a plain RuntimeError
        plain = type(error) is RuntimeError
        if plain and "not enough memory" not in str(error) and "allocate memory" not in str(error):
            raise
        raise OutOfMemory(
            f"out of memory on {describe_device(device)} with {work}: {advice}"
        ) from error
