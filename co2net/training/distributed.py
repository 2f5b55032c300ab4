"""Several training processes under torchrun: who they are and what they tell each other."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed

# the others wait while rank 0 evaluates
TIMEOUT = timedelta(hours=2)


@dataclass(frozen=True)
class Group:
    """The processes that train together; a single one needs no process group.

    device: where this process computes, and the tensors that it exchanges lie.
    """

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
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
        """Return everyone's `values`, of equal shapes, by rank, on the CPU."""
        if self.size == 1:
            return [values.cpu()]
        values = values.to(self.device)
        gathered = [torch.empty_like(values) for _ in range(self.size)]
        distributed.all_gather(gathered, values)
        return [item.cpu() for item in gathered]

    def any(self, flag: bool) -> bool:
        """Return whether any process raised its flag; all wait for each other here."""
        if self.size == 1:
            return flag
        raised = torch.tensor([int(flag)], device=self.device)
        distributed.all_reduce(raised, distributed.ReduceOp.MAX)
        return bool(raised.item())


def launched_by_torchrun() -> bool:
    """Whether torchrun (or a launcher that sets the same variables) started this process."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


@contextmanager
def process_group(device: torch.device) -> Iterator[Group]:
    """Join the group that torchrun started, with NCCL on CUDA and gloo elsewhere."""
    if not launched_by_torchrun():
        yield Group(device)
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, timeout=TIMEOUT)
    try:
        yield Group(device, distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()
