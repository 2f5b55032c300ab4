"""The part of last.ckpt that lets a run continue as if it had not stopped."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from co2net.config import TrainConfig
from co2net.settings import config_from_mapping, differences
from co2net.training.best import Best
from co2net.training.distributed import ProcessGroup
from co2net_runtime.errors import InputError
from co2net_runtime.files.records import from_mapping, to_mapping
from co2net_runtime.files.text import number_of

# may change between the parts of a run: nothing that the next iteration depends on
CHANGEABLE = frozenset({"iterations", "evaluate_every", "checkpoint_every", "patience"})


@dataclass(frozen=True)
class Position:
    """Where a process stands between two iterations."""

    sampler: Mapping[str, Any]  # BatchSampler.state: it draws the next batch
    generators: Mapping[str, Tensor]  # states of torch's random generators by device type

    @staticmethod
    def of(sampler: Mapping[str, Any], device: torch.device) -> "Position":
        """Return the position of this process."""
        generators = {"cpu": torch.get_rng_state()}
        if device.type == "cuda":
            generators["cuda"] = torch.cuda.get_rng_state(device)
        elif device.type == "mps":
            generators["mps"] = torch.mps.get_rng_state()
        return Position(sampler, generators)

    def restore_generators(self, device: torch.device) -> None:
        """Set torch's generators. Raises InputError if the run used another kind of device."""
        if device.type not in self.generators:
            raise InputError(
                f"the run was not on {device.type} (its state: {', '.join(self.generators)}): "
                "resume it with the --device that it began with"
            )
        torch.set_rng_state(self.generators["cpu"])
        if device.type == "cuda":
            torch.cuda.set_rng_state(self.generators["cuda"], device)
        elif device.type == "mps":
            torch.mps.set_rng_state(self.generators["mps"])


@dataclass(frozen=True)
class ResumeState:
    """The state of a run between two iterations."""

    iteration: int  # the last one done
    config: TrainConfig
    positions: tuple[Position, ...]  # by rank
    trainer: Mapping[str, Any]  # Trainer.state
    best: Best | None  # the best evaluation, None before the first
    data: str  # fingerprint of the training data
    awaits_evaluation: bool = False  # whether this iteration's evaluation is still to be done

    def to_mapping(self) -> dict[str, Any]:
        """Return tensors and plain values, which torch loads without executing anything."""
        return {
            "iteration": self.iteration,
            "config": to_mapping(self.config),
            "positions": [
                {"sampler": dict(p.sampler), "generators": dict(p.generators)}
                for p in self.positions
            ],
            "learner": dict(self.trainer),
            "best": None if self.best is None else asdict(self.best),
            "data": self.data,
            "awaits_evaluation": self.awaits_evaluation,
        }

    @staticmethod
    def from_mapping(mapping: Mapping[str, Any], where: str) -> "ResumeState":
        """Read what `to_mapping` of this or an earlier version wrote.

        Raises InputError, naming `where`, if something is missing or has the wrong type.
        """
        try:
            best = mapping["best"]
            return ResumeState(
                iteration=int(mapping["iteration"]),
                config=config_from_mapping(mapping["config"], where),
                positions=tuple(
                    Position(dict(item["sampler"]), dict(item["generators"]))
                    for item in mapping["positions"]
                ),
                trainer=dict(mapping["learner"]),
                best=None if best is None else from_mapping(Best, best, where),
                data=str(mapping["data"]),
                awaits_evaluation=bool(mapping.get("awaits_evaluation", False)),
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise InputError(f"{where}: a damaged resume state: {error!r}") from error

    def check(self, config: TrainConfig, data: str, group: ProcessGroup, where: str) -> None:
        """Raise InputError if continuing with these would not be the same run."""
        changeable = set(CHANGEABLE)
        if config.schedule != "constant":
            # the rate of every iteration follows from their number
            changeable.remove("iterations")
        changed = {
            key: values
            for key, values in differences(self.config, config).items()
            if key not in changeable and not key.startswith("evaluation.")
        }
        if changed:
            said = ", ".join(f"{key} {old!r} -> {new!r}" for key, (old, new) in changed.items())
            raise InputError(
                f"{where}: the run has other settings ({said}): a resume may only change "
                f"{', '.join(sorted(changeable))} and evaluation"
            )
        if data != self.data:
            raise InputError(
                f"{where}: the run was trained on other data: other classes, training videos, "
                "labels or lengths"
            )
        if len(self.positions) != group.size:
            raise InputError(
                f"{where}: the run had {number_of(len(self.positions), 'process')}, now there are "
                f"{group.size}: each process draws batches of its own, so resume it with as many"
            )


def gather_positions(position: Position, group: ProcessGroup) -> tuple[Position, ...]:
    """Return the positions of all processes, by rank; every process must call this."""
    key = torch.tensor([*position.sampler["key"], position.sampler["position"]])
    keys = group.gather(key)
    generators = {name: group.gather(state) for name, state in position.generators.items()}
    return tuple(
        Position(
            {"key": keys[rank][:-1].tolist(), "position": int(keys[rank][-1])},
            {name: states[rank] for name, states in generators.items()},
        )
        for rank in range(group.size)
    )


def fingerprint(
    classes: Sequence[str], names: Sequence[str], lengths: Sequence[int], labels: Any
) -> str:
    """Return a hash of the sampler's data: names, lengths in snippets and labels (N, C)."""
    content = [list(classes), list(names), list(lengths), labels.astype(int).tolist()]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
