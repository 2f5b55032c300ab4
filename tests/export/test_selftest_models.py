"""The models that come with the runtime for its selftest are what the exporter writes today."""

import dataclasses
import importlib.util
from pathlib import Path

import numpy as np
import onnx
import pytest

from co2net_export.precision.options import PRECISIONS
from co2net_runtime.artefact.contract import METADATA_KEY, Contract
from co2net_runtime.diagnostics.selftest import FOLDER


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = Path(__file__).with_name("make_selftest.py")
    spec = importlib.util.spec_from_file_location("make_selftest", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = tmp_path_factory.mktemp("selftest")
    module.write(folder)
    return folder


@pytest.mark.parametrize("precision", [*PRECISIONS, "fp16.chunk"])
def test_models_are_current(written, precision):
    committed, fresh = (onnx.load(folder / f"{precision}.onnx") for folder in (FOLDER, written))
    contracts = []
    for model in (committed, fresh):
        metadata = {entry.key: entry.value for entry in model.metadata_props}
        contract = Contract.from_json(metadata[METADATA_KEY], precision)
        contracts.append(dataclasses.replace(contract, versions={}))
        del model.metadata_props[:]
        model.producer_version = ""
    assert contracts[0] == contracts[1]
    if precision.startswith("int8"):
        # calibrated ranges may differ in the last digit on another machine
        assert [node.op_type for node in committed.graph.node] == [
            node.op_type for node in fresh.graph.node
        ]
    else:
        assert committed == fresh


def test_expected_results_are_current(written):
    with np.load(FOLDER / "expected.npz") as committed, np.load(written / "expected.npz") as fresh:
        assert set(committed) == set(fresh)
        for name in committed:
            np.testing.assert_allclose(committed[name], fresh[name], rtol=0, atol=1e-5)
