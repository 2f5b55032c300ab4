"""Features -> Detections by a Triton server, with the calls of a Localizer."""

from typing import Any

import numpy as np
import numpy.typing as npt

from co2net_runtime.artefact.contract import Contract
from co2net_runtime.backends.buckets import bucket, pad_time
from co2net_runtime.decoding.detect import detect
from co2net_runtime.detections import Detections
from co2net_runtime.errors import InputError
from co2net_runtime.features import check_features
from co2net_runtime.serving.answers import OUTPUTS, from_tensors
from co2net_runtime.serving.connection import Connection


class TritonLocalizer:
    """Localizes actions on a Triton server that serves a repository of co2net-triton.

    While the server is away, restarts or refuses for want of room, a call is tried again. One
    object serves one thread; several threads or processes at once are what fills its batches.

    Example:
        with TritonLocalizer.connect("localhost:8000") as localizer:
            detections = localizer(features)  # (T, D) -> segments in seconds, scores, labels
    """

    def __init__(self, connection: Connection, model: str, contract: Contract, decodes: bool):
        """Use `TritonLocalizer.connect`."""
        self._connection, self._model = connection, model
        self._contract, self._decodes = contract, decodes

    @staticmethod
    def connect(
        address: str, model: str = "co2net", *, timeout_s: float = 60.0, patience_s: float = 30.0
    ) -> "TritonLocalizer":
        """Ask the server for the model's contract.

        Args:
            address: HOST:PORT of Triton's HTTP service, or https://HOST:PORT.
            model: The model's name on the server.
            timeout_s: How long one answer may take.
            patience_s: How long a call is tried again while the server is away.

        Raises:
            InputError: The server does not know the model, or it is not one of co2net-triton.
            BackendError: The server does not answer.
        """
        connection = Connection(address, timeout_s=timeout_s, patience_s=patience_s)
        where = f"{address}: {model}"
        try:
            config = connection.config(model)
            parameters = config.get("parameters", {})
            if "contract" not in parameters:
                raise InputError(f"{where}: not a model of co2net-triton: it holds no contract")
            contract = Contract.from_json(parameters["contract"]["string_value"], where)
        except BaseException:
            connection.close()
            raise
        outputs = {output["name"] for output in config["output"]}
        return TritonLocalizer(connection, model, contract, outputs == set(OUTPUTS))

    @property
    def contract(self) -> Contract:
        """The contract of the served model."""
        return self._contract

    def __call__(self, features: npt.NDArray[Any]) -> Detections:
        """Localize the actions of one video.

        Args:
            features: (T, D) floating-point, T >= 1.

        Raises:
            InputError: The features do not fit the model.
            BackendError: The server does not answer, or its engine fails.
        """
        rows = check_features(features, "features", self._contract.feature_dim)
        features = rows[None]
        if self._decodes:
            found = self._connection.infer(self._model, {"features": features})
            return from_tensors(found, self._contract.classes)[0]
        # few lengths, since Triton joins equal ones alone; the graph masks what is padded
        lengths = np.array([[len(rows)]], np.int64)
        padded = pad_time({"features": features, "lengths": lengths}, bucket(len(rows)))
        found = self._connection.infer(self._model, padded)
        cas, attention = found["cas"][0, : len(rows)], found["attention"][0, : len(rows)]
        return detect(cas, attention, self._contract)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def __enter__(self) -> "TritonLocalizer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
