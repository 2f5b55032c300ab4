"""A tiny checkpoint and its artefact, to be measured in real child processes."""

import dataclasses
import importlib.util
from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest

from co2net_export.graph.write import set_contract
from co2net_runtime.artefact.contract import Contract
from co2net_runtime.files.atomic import sha256

DATA = Path(__file__).parents[1] / "runtime" / "data"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Paths `checkpoint` and `artefact`, 3 classes on 6 + 10 channels, one made from the other."""
    spec = importlib.util.spec_from_file_location("make_tiny", DATA / "make_tiny.py")
    make_tiny = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_tiny)
    folder = tmp_path_factory.mktemp("tiny")
    checkpoint, artefact = folder / "tiny.ckpt", folder / "tiny.onnx"
    make_tiny.tiny_checkpoint().save(checkpoint)
    model = onnx.load(DATA / "tiny.onnx")
    contract = Contract.from_metadata({p.key: p.value for p in model.metadata_props}, "tiny")
    set_contract(model, dataclasses.replace(contract, checkpoint_sha256=sha256(checkpoint)))
    onnx.save(model, artefact)
    return SimpleNamespace(checkpoint=checkpoint, artefact=artefact, folder=folder)
