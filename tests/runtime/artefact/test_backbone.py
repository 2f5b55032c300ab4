import dataclasses
import json

import pytest

from co2net_runtime.artefact.backbone import (
    BackboneContract,
    Flow,
    Scaling,
    read_backbone_contract,
)
from co2net_runtime.artefact.contract import METADATA_KEY, Contract
from co2net_runtime.artefact.onnx_file import read_contract
from co2net_runtime.artefact.wire_format import delimited
from co2net_runtime.errors import ContractError

RGB = BackboneContract(
    stream="rgb", name="i3d", weights="rgb_scratch", weights_sha256="0" * 64, width=1024, opset=20
)
FLOW = dataclasses.replace(RGB, stream="flow", weights="flow_imagenet", flow=Flow("dis-fast"))
MODEL = Contract(classes=("a",), rgb_dim=2, flow_dim=2, opset=20, checkpoint_sha256="0" * 64)


def onnx_file(path, text):
    """An ONNX file of an empty graph with this contract."""
    entry = delimited(1, METADATA_KEY.encode()) + delimited(2, text.encode())
    path.write_bytes(delimited(7, b"") + delimited(14, entry))
    return path


@pytest.mark.parametrize(
    "contract",
    [
        RGB,
        FLOW,
        dataclasses.replace(RGB, classes=400, precision="int8-cpu", parity={"cosine_min": 0.99}),
        dataclasses.replace(RGB, scaling=Scaling((1.0, 2.0, 3.0), (4.0, 5.0, 6.0)), crop=182),
    ],
    ids=["rgb", "flow", "logits", "scaling"],
)
def test_it_comes_back_from_a_file(contract, tmp_path):
    assert read_backbone_contract(onnx_file(tmp_path / "b.onnx", contract.to_json())) == contract


def test_what_follows_from_it():
    assert RGB.clip_shape == (3, 16, 224, 224)
    assert FLOW.clip_shape == (2, 16, 224, 224)
    assert RGB.timing.to_seconds(1) == 0.64
    assert RGB.outputs == ("features",)
    assert dataclasses.replace(RGB, classes=400).outputs == ("features", "logits")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"width": 0}, "width must be at least 1"),
        ({"snippet_frames": 0}, "snippet_frames"),
        ({"crop": 300}, "exceeds the short side"),
        ({"fps": 0.0}, "fps must be a positive number"),
        ({"classes": -1}, "classes"),
        ({"flow": {"algorithm": "tvl1", "bound": 20.0}}, "an RGB backbone has none"),
        ({"stream": "flow"}, "must say what its flow is"),
        ({"scaling": {"mean": [1.0, 2.0], "std": [1.0]}}, "mean has 2 values"),
        ({"scaling": {"mean": [1.0], "std": [0.0]}}, "std must be positive"),
        ({"precision": "int4"}, "expected one of fp32, fp16, int8-cpu"),
        ({"schema_version": 99}, "schema version 99"),
        ({"colour": "bgr"}, "unknown key 'colour'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_damaged_one_is_refused(change, reason):
    mapping = {**json.loads(RGB.to_json()), **change}
    with pytest.raises(ContractError, match=reason):
        BackboneContract.from_json(json.dumps(mapping), "b.onnx")


def test_a_flow_without_a_bound_is_refused():
    with pytest.raises(ValueError, match="bound must be positive"):
        Flow(bound=0.0)


def test_a_model_is_no_backbone_and_a_backbone_no_model(tmp_path):
    model = onnx_file(tmp_path / "model.onnx", MODEL.to_json())
    backbone = onnx_file(tmp_path / "rgb.onnx", RGB.to_json())
    assert read_contract(model) == MODEL
    with pytest.raises(ContractError) as error:
        read_backbone_contract(model)
    assert str(error.value).endswith(
        "model.onnx: expected a backbone (co2net-backbone writes one), the file is a localization "
        "model"
    )
    with pytest.raises(ContractError) as error:
        read_contract(backbone)
    assert str(error.value).endswith(
        "rgb.onnx: expected a localization model (co2net-export writes one), the file is a backbone"
    )


def test_a_file_without_a_contract_names_the_writer(tmp_path):
    path = tmp_path / "other.onnx"
    path.write_bytes(delimited(7, b""))
    with pytest.raises(ContractError, match="write it with co2net-backbone"):
        read_backbone_contract(path)
