"""Calls to a server of the KServe v2 protocol over HTTP, tried again while it is away.

Protocol: https://github.com/kserve/open-inference-protocol, with its extension for binary tensors:
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

import http.client
import json
import random
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np
import numpy.typing as npt

from co2net_runtime.errors import BackendError, InputError

# the types of the tensors used here; numbers travel in little endian order
_TYPES = {"FP32": "<f4", "FP64": "<f8", "INT64": "<i8"}
_NAMES = {np.dtype(kind): name for name, kind in _TYPES.items()}
_LENGTH = "Inference-Header-Content-Length"

# seconds before the first retry, and at most between two
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 2.0
# of a model that is being loaded again
_COMES_BACK = "has no available versions"


class Connection:
    """A connection to one server, kept open between calls; for one thread."""

    def __init__(self, address: str, *, timeout_s: float, patience_s: float) -> None:
        """Prepare; nothing is sent yet.

        Args:
            address: HOST:PORT of the server's HTTP service, or http://... or https://...
            timeout_s: How long an answer may take.
            patience_s: How long a call is tried again; 0: not once.

        Raises:
            InputError: The address is none.
        """
        self.address, self._patience_s = address, patience_s
        scheme, server = _parsed(address)
        secure = scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        self._http = kind(server, timeout=timeout_s)

    def config(self, model: str) -> dict[str, Any]:
        """Return a model's config.pbtxt as JSON; raises as `infer` does."""
        found = json.loads(self._call("GET", f"/v2/models/{quote(model)}/config", [])[0])
        assert isinstance(found, dict)
        return found

    def reload(self, model: str) -> None:
        """Unload a model and load it; raises as `infer` does."""
        for what in ("unload", "load"):
            self._call("POST", f"/v2/repository/models/{quote(model)}/{what}", [b"{}"])

    def infer(
        self, model: str, inputs: Mapping[str, npt.NDArray[Any]]
    ) -> dict[str, npt.NDArray[Any]]:
        """Run one request; arrays in and out by name.

        Raises:
            InputError: The server refuses the request itself.
            BackendError: It fails, or does not answer, and patience is over.
        """
        arrays = [np.ascontiguousarray(array) for array in inputs.values()]
        given = [
            {
                "name": name,
                "shape": array.shape,
                "datatype": _NAMES[array.dtype],
                "parameters": {"binary_data_size": array.nbytes},
            }
            for name, array in zip(inputs, arrays, strict=True)
        ]
        head = json.dumps({"inputs": given, "parameters": {"binary_data_output": True}}).encode()
        body = [head, *(array.data.cast("B") if array.size else b"" for array in arrays)]
        path = f"/v2/models/{quote(model)}/infer"
        text, length = self._call("POST", path, body, {_LENGTH: str(len(head))})
        described, place = json.loads(text[:length]), length
        found = {}
        for output in described["outputs"]:
            size = output["parameters"]["binary_data_size"]
            flat = np.frombuffer(text[place : place + size], _TYPES[output["datatype"]])
            found[output["name"]] = flat.reshape(output["shape"])
            place += size
        return found

    def close(self) -> None:
        """Close the connection; the next call opens it again."""
        self._http.close()

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(
        self,
        method: str,
        path: str,
        body: list[Any],
        headers: Mapping[str, str] | None = None,
    ) -> tuple[bytes, int]:
        """Return the answer, and how much of it is JSON; tries again what may pass."""
        deadline, pause = time.monotonic() + self._patience_s, _FIRST_PAUSE_S
        size = {"Content-Length": str(sum(map(len, body)))} if body else {}
        while True:
            cause: Exception | None = None
            try:
                self._http.request(method, path, iter(body), {**size, **(headers or {})})
                response = self._http.getresponse()
                text = response.read()
                if response.status == http.client.OK:
                    return text, int(response.headers.get(_LENGTH, len(text)))
                reason = _error(text) or f"HTTP {response.status} {response.reason}"
                if response.status < 500 and _COMES_BACK not in reason:
                    raise InputError(f"{self.address}: {reason}")
            except (OSError, http.client.HTTPException) as error:
                self._http.close()
                cause, reason = error, str(error) or type(error).__name__
            if time.monotonic() + pause > deadline:
                tried = f"no answer within {self._patience_s:g} s: " if self._patience_s else ""
                raise BackendError(f"{self.address}: {tried}{reason}") from cause
            time.sleep(pause * random.uniform(0.5, 1.0))  # not all clients at once
            pause = min(2 * pause, _LONGEST_PAUSE_S)


def _error(text: bytes) -> str:
    """Return the server's own words, "" if there are none."""
    try:
        return str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        return ""


def _parsed(address: str) -> tuple[str, str]:
    """Return scheme and HOST:PORT. Raises InputError for anything else."""
    try:
        parts = urlsplit(address if "://" in address else f"http://{address}")
        if parts.scheme in ("http", "https") and parts.hostname and parts.port:
            return parts.scheme, parts.netloc
    except ValueError:
        pass
    raise InputError(f"{address}: expected HOST:PORT of a server")
