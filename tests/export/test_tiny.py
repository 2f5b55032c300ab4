"""The committed artefacts that the runtime's tests run are what the exporter writes today."""

import dataclasses

import numpy as np
import onnx
import pytest

from co2net_runtime.artefact.contract import METADATA_KEY, Contract


@pytest.fixture(scope="module")
def written(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    tiny.write(folder)
    return folder


NAMES = [name + kind for name in ("tiny", "tiny_pool") for kind in ("", ".chunk", ".live")]
PRECISIONS = [
    f"tiny.{precision}{kind}"
    for precision in ("fp16", "int8-cpu", "int8-trt")
    for kind in ("", ".chunk")
]


@pytest.mark.parametrize("name", [*NAMES, *PRECISIONS, "tiny_cpu"])
def test_committed_artefact_is_current(name, tiny, written):
    committed, fresh = (onnx.load(folder / f"{name}.onnx") for folder in (tiny.FOLDER, written))
    contracts = []
    for model in (committed, fresh):
        metadata = {entry.key: entry.value for entry in model.metadata_props}
        contract = Contract.from_json(metadata[METADATA_KEY], name)
        # the figures and versions of another machine may differ, nothing else
        contracts.append(dataclasses.replace(contract, parity={}, versions={}))
        del model.metadata_props[:]
        model.producer_version = ""
    assert contracts[0] == contracts[1]
    if "int8" in name:
        # calibrated ranges may differ in the last digit on another machine
        kinds, stored = (
            [
                [node.op_type for node in model.graph.node],
                [
                    (tensor.name, tensor.data_type, *tensor.dims)
                    for tensor in model.graph.initializer
                ],
            ]
            for model in (committed, fresh)
        )
        assert kinds == stored
    else:
        assert committed == fresh


def test_committed_arrays_are_current(tiny, written):
    with np.load(tiny.FOLDER / "tiny.npz") as committed, np.load(written / "tiny.npz") as fresh:
        assert set(committed) == set(fresh)
        for name in committed:
            atol = 1e-2 if "int8" in name else 1e-6
            np.testing.assert_allclose(committed[name], fresh[name], rtol=0, atol=atol)


def test_tiny_outputs_are_worth_testing(tiny):
    """Attention crosses several thresholds, so that decoding them gives segments."""
    with np.load(tiny.FOLDER / "tiny.npz") as arrays:
        for name in tiny.POOL_KERNELS:
            attention = arrays[f"{name}_video_40_attention"]
            assert np.ptp(attention) > 0.2, name
