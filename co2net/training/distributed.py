"""Several training processes under torchrun: who they are and what they tell each other."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed

from co2net_runtime.errors import Co2netError

# the others wait while rank 0 evaluates
TIMEOUT = timedelta(hours=2)


class ProcessLost(Co2netError):
    """Another process of the group has ended, so this one cannot go on."""


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that train together; a single one needs no torchrun."""

    device: torch.device  # where this process computes, and the tensors it exchanges lie
    rank: int = 0  # of this process
    size: int = 1  # number of processes

    @property
    def is_main(self) -> bool:
        """Whether this process evaluates, writes and prints."""
        return self.rank == 0

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean of `values` over the processes."""
        if self.size == 1:
            return values
        total = values.clone()
        distributed.all_reduce(total)
        return total / self.size

    def gather(self, values: Tensor) -> list[Tensor]:
        """Return every process's `values`, of equal shapes, by rank, on the CPU."""
        if self.size == 1:
            return [values.cpu()]
        values = values.to(self.device)
        gathered = [torch.empty_like(values) for _ in range(self.size)]
        distributed.all_gather(gathered, values)
        return [item.cpu() for item in gathered]

    def any(self, flag: bool) -> bool:
        """Return whether any process raised its flag; all processes wait for each other here."""
        if self.size == 1:
            return flag
        raised = torch.tensor([int(flag)], device=self.device)
        distributed.all_reduce(raised, distributed.ReduceOp.MAX)
        return bool(raised.item())


def _launched_by_torchrun() -> bool:
    """Whether torchrun (or a launcher that sets the same variables) started this process."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def restarted_by_torchrun() -> bool:
    """Whether torchrun started this process again, with the same arguments, after a failure."""
    return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"


@contextmanager
def process_group(device: torch.device) -> Iterator[ProcessGroup]:
    """Join the group that torchrun started, with NCCL on CUDA and gloo elsewhere.

    Raises ProcessLost in place of the error that an operation on all processes ends with when one
    of them has died.
    """
    if not _launched_by_torchrun():
        yield ProcessGroup(device)
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    try:
        _join("nccl" if device.type == "cuda" else "gloo")
        yield ProcessGroup(device, distributed.get_rank(), distributed.get_world_size())
    except distributed.DistBackendError as error:
        raise ProcessLost(_lost(error)) from error
    except RuntimeError as error:
        # gloo raises a plain RuntimeError
        if "gloo" not in str(error).casefold() and "Connection closed by peer" not in str(error):
            raise
        raise ProcessLost(_lost(error)) from error
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()


def _join(backend: str) -> None:
    store, rank, size = next(distributed.rendezvous("env://", timeout=TIMEOUT))  # type: ignore[attr-defined]  # public in its docs
    if os.environ.get("GROUP_WORLD_SIZE") == "1":
        # torchrun gives restarted processes the store that holds the addresses of the dead ones;
        # on several nodes the counts of restarts differ
        count = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        store = distributed.PrefixStore(f"start-{count}", store)  # type: ignore[attr-defined]  # as above
    distributed.init_process_group(
        backend, store=store, rank=rank, world_size=size, timeout=TIMEOUT
    )


def _lost(error: Exception) -> str:
    reason = " ".join(str(error).split())[:200]
    return (
        f"another process of this training has ended ({reason}): see its own error; "
        "--resume continues at last.ckpt, torchrun --max-restarts N does so by itself"
    )
