"""The network under training: one optimizer step, and its state for a resume."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from co2net.config import ModelConfig, TrainConfig
from co2net.losses.objective import loss_terms
from co2net.model import CO2Net, Outputs
from co2net.training.distributed import Group
from co2net_runtime.errors import BackendError

AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class NonFiniteLoss(Exception):
    """The loss or its gradient is NaN or infinite; the weights are those before the step.

    terms: the loss terms and the gradient norm.
    """

    def __init__(self, terms: Mapping[str, float]) -> None:
        super().__init__("the loss is not finite")
        self.terms = dict(terms)


class Learner:
    """CO2Net with Adam; `model` is the plain network, in training mode.

    The random numbers of its initial weights and dropout come from torch's generator.
    """

    def __init__(self, model: ModelConfig, config: TrainConfig, group: Group) -> None:
        self._config, self._group = config, group
        device = group.device
        self.model = CO2Net(model).to(device).train()
        network: nn.Module = self.model
        if group.size > 1:
            ids = [device] if device.type == "cuda" else None
            network = DistributedDataParallel(network, device_ids=ids)
        if config.compile:
            network.compile()
        self._network = network
        self.optimizer = torch.optim.Adam(
            self.model.parameters(),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            # one pass over the weights instead of a dozen
            fused=device.type in ("cpu", "cuda"),
        )
        half = config.precision == "float16"
        self.scaler = torch.amp.GradScaler(device.type, enabled=half)

    def step(self, features: Tensor, labels: Tensor, progress: float) -> dict[str, float]:
        """Train on a batch, (B, S, D) and (B, C), and return its loss terms and "grad_norm".

        progress: share of the training that is done, in [0, 1]. Several processes average their
        gradients and terms.

        Raises NonFiniteLoss, before the weights change, if the loss or (except in float16, where
        the scaler skips the step) the gradient is not finite on any process.
        """
        device = self._group.device
        features = features.to(device, non_blocking=True)
        labels = labels.to(device, non_blocking=True)
        self.optimizer.zero_grad(set_to_none=True)
        terms = self.forward(features, labels, progress)
        norm = self.backward(terms["total"])
        values = self._group.mean(torch.stack([*(x.detach() for x in terms.values()), norm]))
        # the one wait for the device in a step
        result = dict(zip([*terms, "grad_norm"], values.tolist(), strict=True))
        checked = ("total",) if self.scaler.is_enabled() else ("total", "grad_norm")
        if not all(math.isfinite(result[name]) for name in checked):
            raise NonFiniteLoss(result)
        self.update()
        return result

    def forward(self, features: Tensor, labels: Tensor, progress: float) -> dict[str, Tensor]:
        """Return the loss terms of a batch on the device."""
        dtype = AUTOCAST.get(self._config.precision)
        with torch.autocast(self._group.device.type, dtype=dtype, enabled=dtype is not None):
            outputs = self._run(features)
        return loss_terms(
            outputs, labels, self._config.loss, pairs=self._config.pairs, progress=progress
        )

    def _run(self, features: Tensor) -> Outputs:
        outputs: Outputs
        if not self._config.compile:
            outputs = self._network(features)
            return outputs
        # takes seconds to import
        from torch._dynamo.exc import TorchDynamoException

        try:
            outputs = self._network(features)
        except TorchDynamoException as error:
            # after a blank line it explains how to debug torch
            reason = " ".join(str(error).split("\n\n")[0].split())
            raise BackendError(
                f"torch.compile cannot compile the network here ({reason}): "
                "--set compile=false trains without it"
            ) from error
        return outputs

    def backward(self, loss: Tensor) -> Tensor:
        """Compute the gradients, averaged over the processes, and return their norm."""
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]  # torch does not type it
        self.scaler.unscale_(self.optimizer)
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        return torch.nn.utils.get_total_norm(gradients)

    def update(self) -> None:
        """Apply the gradients."""
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def state(self) -> dict[str, Any]:
        """Return what a resume needs besides the weights: tensors and plain values."""
        return {"optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict()}

    def restore(self, weights: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Continue from the weights and `state()` of another learner of this shape."""
        self.model.load_state_dict(dict(weights))
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
