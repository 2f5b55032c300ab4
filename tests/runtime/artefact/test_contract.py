import dataclasses
import json

import pytest

from co2net_runtime.artefact.contract import METADATA_KEY, Contract, ReceptiveField
from co2net_runtime.errors import ContractError
from co2net_runtime.options import DecodeOptions, SnippetTiming

CONTRACT = Contract(
    classes=("Jump", "Throw"),
    rgb_dim=6,
    flow_dim=10,
    opset=20,
    checkpoint_sha256="ab" * 32,
    timing=SnippetTiming(8, 29.97),
    decode=DecodeOptions(class_threshold=0.1, threshold_count=3),
    pool_kernel=13,
    receptive_field=ReceptiveField(8, 9),
    precision="fp16",
    parity={"cas": {"max_abs": 1e-7}},
    versions={"co2net": "0.1.0"},
)


def change(**fields):
    mapping = json.loads(CONTRACT.to_json())
    mapping.update(fields)
    return json.dumps({key: value for key, value in mapping.items() if value is not None})


def test_round_trip_through_the_metadata():
    metadata = {METADATA_KEY: CONTRACT.to_json(), "other": "x"}
    assert Contract.from_metadata(metadata, "m.onnx") == CONTRACT
    assert CONTRACT.feature_dim == 16


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "m.onnx: contract: expected a co2net contract as JSON"),
        ("[" * 100_000, "m.onnx: contract: expected a co2net contract as JSON: nested too deeply"),
        ("[1]", "m.onnx: contract: expected a JSON object, found list"),
        (change(kind=["model"]), "the file is of kind"),
        (change(schema_version=[2]), r"schema version \[2\]"),
        (change(schema_version=True), "schema version True"),
        (change(decode={"threshold_count": 2**32}), "threshold_count must be 1 to 1000"),
        (change(rgb_dim=2**40), "stream widths must be 1 to"),
        (change(rgb_dim=float("inf")), "rgb_dim: expected int, found inf"),
        (change(pool_kernel=0), "pool_kernel must be 1 to"),
        (change(receptive_field={"cas": -1}), "the receptive field must be 0 to"),
        (change(state_dim=-1), "state_dim must be 0 to"),
        (change(outputs=[]), "the graph must take features and give cas and attention"),
        (change(context_prior=[float("nan")] * 16), "values that are not finite"),
        (change(classes="Jump"), "classes: expected a list, found 'Jump'"),
        (change(classes=[1, 2]), "classes: expected str, found 1"),
        (change(timing=[16, 25]), "timing: expected a mapping, found list"),
        (change(dynamic_axes={"features": 3}), "dynamic_axes: expected a list, found 3"),
        (change(schema_version=99), "schema version 99, this program reads 1 and 2"),
        (change(classes=[]), "the class list is empty"),
        (change(classes=["a", "a"]), "names a class twice"),
        (change(rgb_dim=0), "stream widths must be 1 to"),
        (change(opset=None), "the key 'opset' is missing"),
        (change(precision="int4"), "precision: expected one of fp32"),
        (change(colour="blue"), "unknown key 'colour'"),
        (change(timing={"fps": -1}), "fps must be a positive number"),
    ],
)
def test_a_damaged_contract_is_refused(text, message):
    with pytest.raises(ContractError, match=message):
        Contract.from_json(text, "m.onnx")


def test_a_file_without_a_contract_is_refused():
    with pytest.raises(ContractError, match=r"other\.onnx: an ONNX file without a co2net contract"):
        Contract.from_metadata({}, "other.onnx")


def test_it_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        CONTRACT.opset = 21


def test_seconds_and_snippets_are_inverse():
    timing = SnippetTiming()
    assert timing.to_seconds([0, 1, 25]).tolist() == [0.0, 0.64, 16.0]
    assert timing.to_snippets(timing.to_seconds([3, 7])) == pytest.approx([3, 7])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"threshold_count": 0}, "threshold_count must be 1 to 1000"),
        ({"threshold_min": 0.9, "threshold_max": 0.1}, "threshold_min <= threshold_max"),
        ({"nms_sigma": 0.0}, "nms_sigma must be positive"),
        ({"outer_margin": -1.0}, "outer_margin must not be negative"),
        ({"class_threshold": float("nan")}, "class_threshold must be finite"),
    ],
)
def test_decode_options_are_checked(fields, message):
    with pytest.raises(ValueError, match=message):
        DecodeOptions(**fields)
