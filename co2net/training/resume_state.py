"""What last.ckpt holds besides the weights, so that a run goes on as if it had not stopped."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from co2net.config import TrainConfig
from co2net.settings import differences
from co2net.training.best import Best
from co2net.training.distributed import Group
from co2net_runtime.errors import InputError
from co2net_runtime.files.records import from_mapping, to_mapping

# what may change between the parts of one run: nothing that the next iteration depends on
CHANGEABLE = frozenset({"iterations", "evaluate_every", "checkpoint_every", "patience"})


@dataclass(frozen=True)
class Position:
    """Where a process stands between two iterations.

    sampler: state that draws the next batch (BatchSampler.state). generators: torch's, by device
    type, as the tensors that torch gives.
    """

    sampler: Mapping[str, Any]
    generators: Mapping[str, Tensor]

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
        """Set torch's generators. Raises InputError if the run was on another kind of device."""
        if device.type not in self.generators:
            raise InputError(
                f"the run was not on {device.type} (its state: {', '.join(self.generators)}): "
                "resume it with the --device it had"
            )
        torch.set_rng_state(self.generators["cpu"])
        if device.type == "cuda":
            torch.cuda.set_rng_state(self.generators["cuda"], device)
        elif device.type == "mps":
            torch.mps.set_rng_state(self.generators["mps"])


@dataclass(frozen=True)
class ResumeState:
    """The state of a run after `iteration`.

    positions: by rank. learner: of Learner.state. best: the best evaluation, None before the
    first. data: fingerprint of the training data.
    """

    iteration: int
    config: TrainConfig
    positions: tuple[Position, ...]
    learner: Mapping[str, Any]
    best: Best | None
    data: str

    def to_mapping(self) -> dict[str, Any]:
        """Return tensors and plain values, which torch loads without executing anything."""
        return {
            "iteration": self.iteration,
            "config": to_mapping(self.config),
            "positions": [
                {"sampler": dict(p.sampler), "generators": dict(p.generators)}
                for p in self.positions
            ],
            "learner": dict(self.learner),
            "best": None if self.best is None else asdict(self.best),
            "data": self.data,
        }

    @staticmethod
    def from_mapping(mapping: Mapping[str, Any], where: str) -> "ResumeState":
        """Read what `to_mapping` wrote. Raises InputError if something is missing."""
        try:
            best = mapping["best"]
            return ResumeState(
                iteration=mapping["iteration"],
                config=from_mapping(TrainConfig, mapping["config"], where),
                positions=tuple(
                    Position(item["sampler"], item["generators"]) for item in mapping["positions"]
                ),
                learner=mapping["learner"],
                best=None if best is None else from_mapping(Best, best, where),
                data=mapping["data"],
            )
        except (KeyError, TypeError) as error:
            raise InputError(f"{where}: a damaged resume state: {error!r}") from error

    def check(self, config: TrainConfig, data: str, group: Group, where: str) -> None:
        """Raise InputError if going on with these would not be the same run."""
        changeable = set(CHANGEABLE)
        if config.loss.strategy == "evidential":
            # its weights follow the share of the training that is done
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
                f"{where}: the run had {len(self.positions)} processes, now there are "
                f"{group.size}: resume it with as many"
            )


def gather_positions(position: Position, group: Group) -> tuple[Position, ...]:
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
    """Return a hash of what the sampler draws from: names, lengths and labels (N, C)."""
    content = [list(classes), list(names), list(lengths), labels.astype(int).tolist()]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
