"""The card says what the contract says."""

import dataclasses

import pytest

from co2net_export.model_card import card_path, model_card
from co2net_runtime.artefact.contract import Contract

DIFFERENCE = {"max_abs": 1.5e-6, "mean_abs": 2e-7, "p999_abs": 1e-6}
PARITY = {
    "tensors": {"cas": DIFFERENCE, "attention": DIFFERENCE, "scale": 4.0},
    "decisions": {"videos": 6, "segments": 40, "lost": 1, "added": 2, "moved": 3},
    "accuracy": {"reference": 47.15, "artefact": 47.1},
    "gate": {"max_abs": None, "segments": 0.03},
    "kept_in_float": ["fusion.0"],
}


@pytest.fixture
def contract():
    return Contract(
        classes=("Run", "High|Jump"),
        rgb_dim=6,
        flow_dim=10,
        opset=20,
        checkpoint_sha256="ab" * 32,
        precision="int8-cpu",
        parity=PARITY,
        versions={"co2net": "1.2"},
    )


def test_a_card_tells_what_a_user_must_know(contract):
    chunk = dataclasses.replace(contract, graph="chunk")
    card = model_card("model", {"model.onnx": contract, "model.chunk.onnx": chunk})
    for part in (
        "# model\n",
        "| model.chunk.onnx | chunk | int8-cpu |",
        "16 channels a snippet, 6 of RGB first, then 10 of optical flow",
        "every 16 frames at 25 frames per second",
        "2: Run, High|Jump.",
        "cas 1.5e-06 and 2.0e-07",
        "Of 40 segments in 6 videos, 1 are lost, 2 added and 3 moved",
        "47.10 %, PyTorch 47.15 %",
        "Kept in float to meet the bounds: fusion.0.",
        "Enforced bounds: segments 0.03.",
        "is not recorded",
        "ab" * 32,
        "0.64 s",
    ):
        assert part in card, part


def test_a_card_without_data_or_gate_says_so(contract):
    parity = {**PARITY, "decisions": None, "accuracy": None, "gate": None}
    card = model_card("model", {"model.onnx": dataclasses.replace(contract, parity=parity)})
    assert "no dataset was given at export" in card
    assert "No bounds were enforced" in card
    assert "mAP over" not in card


def test_the_extraction_is_a_table(contract):
    extraction = {"backbone": "i3d", "flow": "tvl1|gpu", "unknown": None}
    card = model_card("m", {"m.onnx": dataclasses.replace(contract, extraction=extraction)})
    assert "| backbone | i3d |" in card
    assert "| flow | tvl1\\|gpu |" in card
    assert "unknown" not in card


def test_the_card_lies_beside_the_model(tmp_path):
    assert card_path(tmp_path / "model.int8.onnx") == tmp_path / "model.int8.md"
