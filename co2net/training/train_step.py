"""The network under training: one optimizer step, and its state for a resume."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from co2net.config import ModelConfig, TrainConfig
from co2net.losses.co2 import co2_loss
from co2net.model import CO2Net, Outputs
from co2net.training.distributed import ProcessGroup
from co2net.training.schedule import learning_rate
from co2net_runtime.errors import BackendError

AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}
OPTIMIZERS: Mapping[str, Any] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


class NonFiniteLoss(Exception):
    """The loss or its gradient is NaN or infinite; the weights are those before the step."""

    def __init__(self, terms: Mapping[str, float]) -> None:
        super().__init__("the loss is not finite")
        self.terms = dict(terms)  # the loss terms and the gradient norm


class Trainer:
    """CO2Net with its optimizer and, if the config asks for it, averaged weights.

    The random numbers of its initial weights and dropout come from torch's generator.

    Args:
        model: Shape of the network.
        config: Optimizer, precision and loss.
        group: The processes that train together; this one computes on `group.device`.
    """

    def __init__(self, model: ModelConfig, config: TrainConfig, group: ProcessGroup) -> None:
        self._config, self._group = config, group
        device = group.device
        self.model = CO2Net(model).to(device).train()
        self._average: AveragedModel | None = None
        if config.ema_decay is not None:
            average = get_ema_multi_avg_fn(config.ema_decay)  # type: ignore[no-untyped-call]  # torch does not type it
            self._average = AveragedModel(self.model, multi_avg_fn=average)
        network: nn.Module = self.model
        if group.size > 1:
            ids = [device] if device.type == "cuda" else None
            network = DistributedDataParallel(network, device_ids=ids)
        if config.compile:
            network.compile()
        self._network = network
        self.optimizer = OPTIMIZERS[config.optimizer](
            self.model.parameters(),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            # one pass over the weights instead of a dozen
            fused=device.type in ("cpu", "cuda"),
        )
        half = config.precision == "float16"
        self.scaler = torch.amp.GradScaler(device.type, enabled=half)

    @property
    def result(self) -> CO2Net:
        """The network to evaluate and save: with the averaged weights if there are any."""
        if self._average is None:
            return self.model
        averaged = self._average.module
        assert isinstance(averaged, CO2Net)
        return averaged

    def step(self, features: Tensor, labels: Tensor, iteration: int) -> dict[str, float]:
        """Train on one batch; several processes average their gradients and terms.

        Args:
            features: (B, S, D) float32.
            labels: (B, C) float32, 1 where the video shows the class; pairs first.
            iteration: The number of this step, from 1, which decides its learning rate.

        Returns:
            The loss terms, "total", "grad_norm" (before clipping) and "learning_rate".

        Raises:
            NonFiniteLoss: Before the weights change, if the loss or (except in float16, where the
                scaler skips the step) the gradient is not finite on any process.
        """
        device = self._group.device
        features = features.to(device, non_blocking=True)
        labels = labels.to(device, non_blocking=True)
        self.optimizer.zero_grad(set_to_none=True)
        terms = self.forward(features, labels)
        norm = self.backward(terms["total"])
        values = self._group.mean(torch.stack([*(x.detach() for x in terms.values()), norm]))
        # the one wait for the device in a step
        result = dict(zip([*terms, "grad_norm"], values.tolist(), strict=True))
        checked = ("total",) if self.scaler.is_enabled() else ("total", "grad_norm")
        if not all(math.isfinite(result[name]) for name in checked):
            raise NonFiniteLoss(result)
        rate = learning_rate(self._config, iteration)
        self.update(norm, rate)
        return {**result, "learning_rate": rate}

    def forward(self, features: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return the loss terms of a batch on the device."""
        dtype = AUTOCAST.get(self._config.precision)
        with torch.autocast(self._group.device.type, dtype=dtype, enabled=dtype is not None):
            outputs = self._run(features)
        return co2_loss(outputs, labels, self._config.loss, pairs=self._config.pairs)

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

    def update(self, norm: Tensor, rate: float) -> None:
        """Apply the gradients, whose norm is `norm`, at a learning rate."""
        if self._config.clip_norm is not None:
            parameters = list(self.model.parameters())
            torch.nn.utils.clip_grads_with_norm_(parameters, self._config.clip_norm, norm)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self._average is not None:
            self._average.update_parameters(self.model)

    def state(self) -> dict[str, Any]:
        """Return the state to resume from besides the weights of `result`, as plain values."""
        state = {"optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict()}
        if self._average is not None:
            state["weights"] = self.model.state_dict()
            state["averaged"] = self._average.n_averaged
        return state

    def restore(self, weights: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Continue from the weights of `result` and the `state()` of another trainer like this."""
        self.model.load_state_dict(dict(state.get("weights", weights)))
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if self._average is not None:
            self.result.load_state_dict(dict(weights))
            self._average.n_averaged.copy_(state["averaged"])
