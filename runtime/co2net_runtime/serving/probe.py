"""Whether a served model infers: Triton calls it ready even when its processes are dead."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from co2net_runtime.errors import BackendError
from co2net_runtime.serving.connection import Connection

# requests for each instance: which instance takes which request is Triton's choice
_EACH = 3
_LOADING_S = 300.0


def probe(address: str, model: str, *, timeout_s: float, reload: bool) -> None:
    """Have every instance of a model infer.

    Each request fills a batch of its own, so that those sent together go to several instances.

    Args:
        address: HOST:PORT of Triton's HTTP service.
        model: The model's name on the server.
        timeout_s: How long the answers may take.
        reload: Unload and load a model that does not answer (Triton must run with
            --model-control-mode=explicit), then try again.

    Raises:
        BackendError: An instance does not answer.
        InputError: The server does not know the model.
    """
    try:
        _infer(address, model, timeout_s)
    except BackendError:
        if not reload:
            raise
        with Connection(address, timeout_s=_LOADING_S, patience_s=0) as connection:
            connection.reload(model)
        _infer(address, model, timeout_s)


def _infer(address: str, model: str, timeout_s: float) -> None:
    with Connection(address, timeout_s=timeout_s, patience_s=0) as connection:
        config = connection.config(model)
    inputs = _request(config)
    instances = sum(
        group["count"] * max(1, len(group.get("gpus", []))) for group in config["instance_group"]
    )

    def ask(_number: int) -> None:
        with Connection(address, timeout_s=timeout_s, patience_s=0) as connection:
            connection.infer(model, inputs)

    with ThreadPoolExecutor(_EACH * instances) as threads:
        list(threads.map(ask, range(_EACH * instances)))


def _request(config: dict[str, Any]) -> dict[str, Any]:
    """Return the smallest inputs that fill a batch."""
    batch = max(1, int(config["max_batch_size"]))
    width = next(int(given["dims"][-1]) for given in config["input"] if given["name"] == "features")
    inputs: dict[str, Any] = {"features": np.zeros((batch, 1, width), np.float32)}
    if len(config["input"]) > 1:
        inputs["lengths"] = np.ones((batch, 1), np.int64)
    return inputs
