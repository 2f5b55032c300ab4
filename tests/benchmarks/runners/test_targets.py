"""Naming what is to be measured."""

import importlib.util
import os
from pathlib import Path

import pytest

from co2net_benchmarks.runners import targets
from co2net_benchmarks.runners.process import Child
from co2net_benchmarks.runners.targets import missing_packages, parse_target, parse_targets
from co2net_runtime.errors import InputError


@pytest.mark.parametrize(
    ("text", "name", "kind"),
    [
        ("{onnx}", "tiny.onnx", "runtime"),
        ("{ckpt}", "tiny.ckpt", "torch"),
        ("mine={onnx}", "mine", "runtime"),
        ("compile:{ckpt}", "compile:tiny.ckpt", "compile"),
        ("plain={ckpt}", "plain", "torch"),
        ("a=plain:{ckpt}", "a", "plain"),
        ("openvino:{onnx}", "openvino:tiny.onnx", "openvino"),
    ],
)
def test_target_grammar(tiny, text, name, kind):
    target = parse_target(text.format(onnx=tiny.artefact, ckpt=tiny.checkpoint))
    assert (target.name, target.kind) == (name, kind)
    assert target.path in (tiny.artefact, tiny.checkpoint)


def test_missing_file_names_the_grammar():
    with pytest.raises(InputError, match=r"nothing\.onnx: no such file .*KIND one of torch, "):
        parse_target("nothing.onnx")


def test_names_must_differ(tiny):
    with pytest.raises(InputError, match=r"two targets are called 'tiny\.onnx'"):
        parse_targets([str(tiny.artefact), str(tiny.artefact)])
    assert len(parse_targets([str(tiny.artefact), f"again={tiny.artefact}"])) == 2


def test_baselines_are_made_of_what_is_given(tiny):
    both = parse_targets([str(tiny.checkpoint), str(tiny.artefact)], baselines=True)
    assert [one.kind for one in both] == [
        "torch",
        "runtime",
        "compile",
        "plain",
        "openvino",
        "openvino-f32",
    ]
    artefact = parse_targets([str(tiny.artefact)], baselines=True)
    assert [one.kind for one in artefact] == ["runtime", "openvino", "openvino-f32"]
    given = parse_targets([f"plain:{tiny.checkpoint}"], baselines=True)
    assert [one.kind for one in given] == ["plain", "compile"]


def test_published_decoding_needs_a_checkpoint(tiny):
    found = parse_targets([str(tiny.checkpoint)], published_decoding=True)
    assert [(one.name, one.kind) for one in found] == [
        ("tiny.ckpt", "torch"),
        ("published:tiny.ckpt", "published"),
    ]
    with pytest.raises(InputError, match="needs a checkpoint"):
        parse_targets([str(tiny.artefact)], published_decoding=True)


def test_missing_packages_are_named(tiny, monkeypatch):
    monkeypatch.setattr(
        targets.importlib.util,
        "find_spec",
        lambda name, find=importlib.util.find_spec: None if name == "openvino" else find(name),
    )
    assert missing_packages(parse_target(f"openvino:{tiny.artefact}")) == ["openvino"]
    assert missing_packages(parse_target(str(tiny.checkpoint))) == []


def test_children_and_this_process_send_no_telemetry(tiny):
    """ONNX Runtime reads the variable when it is imported: the package sets it before."""
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
    with Child() as child:
        environment = Path(f"/proc/{child._process.pid}/environ")
        if environment.exists():
            assert b"ORT_DISABLE_TELEMETRY=1" in environment.read_bytes().split(b"\0")
