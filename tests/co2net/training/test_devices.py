import pytest
import torch

from co2net.training.devices import OutOfMemory, describe_device, explained_memory, resolve_device
from co2net_runtime.errors import BackendError

CPU = torch.device("cpu")


def test_auto_takes_what_there_is(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert resolve_device("auto") == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto").type == "cuda"


def test_a_device_that_is_not_there_is_an_error_not_a_fallback(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BackendError, match="no cuda device here"):
        resolve_device("cuda")


def test_the_device_in_words():
    assert describe_device(CPU).startswith("cpu (")
    assert " thread" in describe_device(CPU)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"),
    ],
)
def test_out_of_memory_says_what_to_make_smaller(error):
    with (
        pytest.raises(OutOfMemory, match=r"out of memory on cpu .* with a big batch: try less"),
        explained_memory(CPU, "a big batch", "try less"),
    ):
        raise error


def test_the_cpus_own_message_is_recognized():
    with pytest.raises(OutOfMemory), explained_memory(CPU, "it", "less"):
        torch.empty(2**60, dtype=torch.uint8)


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="shape"), explained_memory(CPU, "it", "less"):
        raise RuntimeError("shape mismatch")
