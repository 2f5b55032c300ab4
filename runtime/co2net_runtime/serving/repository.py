"""An artefact -> a model in a Triton repository, which appears whole."""

import json
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from co2net_runtime.artefact.contract import Contract
from co2net_runtime.backends import EngineOptions
from co2net_runtime.backends.ort.trt_provider import profile_strings
from co2net_runtime.backends.trt.profiles import covering
from co2net_runtime.errors import InputError
from co2net_runtime.files.atomic import output_folder, sha256
from co2net_runtime.files.records import to_mapping
from co2net_runtime.network.chunks import chunk_graph_path
from co2net_runtime.serving.config import (
    FILE,
    MODEL_PY,
    WARM_UP,
    WARM_UP_FILE,
    ServerOptions,
    network_config,
    python_config,
)
from co2net_runtime.version import VERSION

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def write_repository(
    model: Path,
    contract: Contract,
    target: Path,
    engine: EngineOptions,
    server: ServerOptions,
    *,
    network_only: bool = False,
    overwrite: bool = False,
) -> None:
    """Write the folder of one model: config.pbtxt, 1/model.onnx and, for Python, 1/model.py.

    Args:
        model: The artefact.
        contract: Its contract.
        target: REPOSITORY/NAME; REPOSITORY is what Triton's --model-repository names.
        engine: How the model is run.
        server: How Triton runs it.
        network_only: Let Triton's own ONNX Runtime run the network, and clients decode.
        overwrite: Whether a folder that is there may be replaced.

    Raises:
        InputError: It exists, the name is none, or the folder cannot be written.
    """
    parameters = {
        "contract": contract.to_json(),
        "sha256": sha256(model),
        "co2net": VERSION,
    }
    with _appearing(target, overwrite=overwrite) as folder:
        version = folder / "1"
        version.mkdir()
        shutil.copyfile(model, version / FILE)
        if network_only:
            accelerator = None
            if engine.backend == "onnxruntime-tensorrt":
                profile = covering(engine.tensorrt.to_build)
                server = replace(server, max_batch=min(server.max_batch, profile.batch[2]))
                # fp16 and int8 artefacts say in the graph what runs in which precision
                accelerator = {"precision_mode": "FP32", **profile_strings(profile, contract)}
            threads = engine.threads or 1
            config = network_config(target.name, contract, parameters, server, accelerator, threads)
            (folder / "warmup").mkdir()
            (folder / "warmup" / WARM_UP_FILE).write_bytes(np.array([WARM_UP], "<i8").tobytes())
        else:
            parameters["engine"] = json.dumps(to_mapping(engine))
            config = python_config(target.name, contract, parameters, server)
            (version / "model.py").write_text(MODEL_PY, encoding="utf-8")
            chunks = chunk_graph_path(model)
            if chunks.is_file():
                shutil.copyfile(chunks, chunk_graph_path(version / FILE))
        (folder / "config.pbtxt").write_text(config, encoding="utf-8")


@contextmanager
def _appearing(target: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield a temporary folder that becomes `target`: Triton may be looking."""
    if _NAME.fullmatch(target.name) is None:
        raise InputError(f"--name {target.name}: expected letters, digits, '_', '-' and '.'")
    if target.exists() and not overwrite:
        raise InputError(f"{target}: exists already: choose another name or pass --overwrite")
    repository = output_folder(target.parent)
    temporary, former = (repository / f".{target.name}.{secrets.token_hex(4)}" for _ in range(2))
    temporary.mkdir()
    try:
        yield temporary
        if target.exists():
            target.rename(former)
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(former, ignore_errors=True)
