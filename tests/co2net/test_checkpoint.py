import contextlib
import io
import pickle
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from co2net.checkpoint import Checkpoint
from co2net.config import ModelConfig
from co2net.model import CO2Net
from co2net_runtime.errors import InputError
from co2net_runtime.options import DecodeOptions, SnippetTiming

CONFIG = ModelConfig(classes=3, rgb_dim=6, flow_dim=10, attention_dim=4, embed_dim=12)
CLASSES = ("Jump", "Throw", "Kick")


@pytest.fixture
def checkpoint():
    torch.manual_seed(0)
    return Checkpoint(
        model=CONFIG,
        classes=CLASSES,
        weights=CO2Net(CONFIG).state_dict(),
        timing=SnippetTiming(8, 30.0),
        decode=DecodeOptions(class_threshold=0.3),
        provenance={"program": "a test", "iteration": 7},
        extraction={"backbone": "i3d", "stride": 8},
        training={"step": torch.arange(3), "nested": {"rng": [1, 2]}},
    )


@pytest.fixture(scope="module")
def saved_bytes(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "a.ckpt"
    Checkpoint(CONFIG, CLASSES, CO2Net(CONFIG).state_dict()).save(path)
    return path.read_bytes()


def published(path, extra=None, **changes):
    """A published state dict: the network's weights and the feat_encoder that never acts."""
    torch.manual_seed(0)
    weights = dict(CO2Net(CONFIG).state_dict())
    weights["feat_encoder.0.weight"] = torch.zeros(16, 16, 3)
    weights["feat_encoder.0.bias"] = torch.zeros(16)
    weights.update(extra or {})
    for name, value in changes.items():
        weights[name.replace("__", ".")] = value
    torch.save({name: value for name, value in weights.items() if value is not None}, path)
    return path


def test_a_checkpoint_rebuilds_the_model_by_itself(checkpoint, tmp_path):
    checkpoint.save(tmp_path / "a.ckpt")
    again = Checkpoint.load(tmp_path / "a.ckpt")
    features = torch.rand(2, 5, 16)
    with torch.no_grad():
        expected, found = checkpoint.build()(features), again.build()(features)
    assert torch.equal(expected.cas, found.cas)
    assert torch.equal(expected.attention, found.attention)
    for name in ("model", "classes", "timing", "decode", "provenance", "extraction"):
        assert getattr(again, name) == getattr(checkpoint, name)
    assert torch.equal(again.training["step"], torch.arange(3))
    assert not again.build().training


def test_equal_checkpoints_are_equal_bytes(checkpoint, tmp_path):
    checkpoint.save(tmp_path / "a.ckpt")
    Checkpoint.load(tmp_path / "a.ckpt").save(tmp_path / "b.ckpt")
    first, second = ((tmp_path / name).read_bytes() for name in ("a.ckpt", "b.ckpt"))
    assert first == second


def test_a_published_state_dict_loads_without_its_dead_weights(tmp_path):
    loaded = Checkpoint.from_published(published(tmp_path / "co2.pkl"), classes=CLASSES)
    assert loaded.model == CONFIG
    assert not any(name.startswith("feat_encoder") for name in loaded.weights)
    torch.manual_seed(0)
    expected = CO2Net(CONFIG).eval()
    features = torch.rand(1, 4, 16)
    with torch.no_grad():
        assert torch.equal(loaded.build()(features).cas, expected(features).cas)


def test_the_pooling_kernel_of_a_published_model_is_kept(tmp_path):
    path = published(tmp_path / "ant.pkl")
    loaded = Checkpoint.from_published(path, classes=CLASSES, pool_kernel=13)
    loaded.save(tmp_path / "ant.ckpt")
    assert Checkpoint.load(tmp_path / "ant.ckpt").model.pool_kernel == 13


def test_a_published_state_dict_is_named_where_ours_is_expected(tmp_path):
    with pytest.raises(InputError, match=r"co2\.pkl: a published CO2-Net state dict.*--published"):
        Checkpoint.load(published(tmp_path / "co2.pkl"))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"fusion__0__weight": None}, "the state dict is incomplete: 'fusion.0.weight'"),
        ({"fusion__0__bias": None}, "the weight fusion.0.bias is missing"),
        ({"fusion__0__bias": torch.zeros(5)}, r"fusion.0.bias has shape \(5,\), expected \(12,\)"),
        ({"head__weight": torch.zeros(1)}, "unknown weight head.weight"),
    ],
)
def test_a_published_state_dict_of_another_shape_is_refused(changes, text, tmp_path):
    path = published(tmp_path / "co2.pkl", **changes)
    with pytest.raises(InputError, match=text):
        Checkpoint.from_published(path, classes=CLASSES)


@pytest.mark.parametrize("wrapper", ["state_dict", "model_state_dict", "model", None])
@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.module.", ""])
def test_wrapped_state_dicts_load(wrapper, prefix, tmp_path):
    plain = published(tmp_path / "co2.pkl")
    weights = {prefix + name: v for name, v in torch.load(plain, weights_only=True).items()}
    path = tmp_path / "wrapped.pkl"
    torch.save({"epoch": 3, wrapper: weights} if wrapper else weights, path)
    expected = Checkpoint.from_published(plain, classes=CLASSES).weights
    found = Checkpoint.from_published(path, classes=CLASSES).weights
    assert list(found) == list(expected)
    with pytest.raises(InputError, match="--published"):
        Checkpoint.load(path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"classes": 3}, "its class list is not a list of names"),
        ({"classes": ["a", "b", 3]}, "its class list is not a list of names"),
        ({"weights": [1]}, "weights are not a mapping"),
        ({"provenance": 3}, "damaged co2net checkpoint"),
        ({"training": [1]}, "a list where a mapping belongs"),
        ({"extraction": "i3d"}, "a str where a mapping belongs"),
        ({"timing": {"fps": "fast"}}, "timing: fps"),
        ({"model": {"classes": 3, "embed_dim": 2**62}}, "model|shape"),
        ({"version": "x" * 10}, "checkpoint version"),
    ],
)
def test_parts_of_a_wrong_type_are_named(changes, words, checkpoint, tmp_path):
    path = tmp_path / "a.ckpt"
    checkpoint.save(path)
    content = torch.load(path, weights_only=True)
    torch.save({**content, **changes}, path)
    with pytest.raises(InputError, match=rf"a\.ckpt: .*({words})"):
        Checkpoint.load(path)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (torch.full((12,), torch.nan), "NaN or infinity"),
        (torch.zeros(1).expand(12), "not a whole floating-point tensor"),
        (torch.zeros(12, dtype=torch.int64), "not a whole floating-point tensor"),
        (torch.zeros(12).to_sparse(), "not a whole floating-point tensor"),
    ],
)
def test_weights_that_cannot_be_used_are_named(value, words, checkpoint, tmp_path):
    path = tmp_path / "a.ckpt"
    checkpoint.save(path)
    content = torch.load(path, weights_only=True)
    content["weights"]["fusion.0.bias"] = value
    torch.save(content, path)
    with pytest.raises(InputError, match=rf"fusion\.0\.bias .*{words}"):
        Checkpoint.load(path)
    with pytest.raises(InputError, match=rf"fusion\.0\.bias .*{words}"):
        Checkpoint.from_published(published(path, fusion__0__bias=value), classes=CLASSES)


def test_a_file_that_unpacks_to_more_than_itself_is_refused(tmp_path):
    path = tmp_path / "bomb.ckpt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10**7))
    with pytest.raises(InputError, match="it is compressed"):
        Checkpoint.load(path)


@settings(max_examples=60)
@given(st.integers(0, 2**31), st.integers(1, 40))
def test_any_damage_is_an_input_error(saved_bytes, tmp_path_factory, seed, count):
    random = np.random.default_rng(seed)
    data = bytearray(saved_bytes)
    for place in random.integers(len(data), size=count):
        data[place] = random.integers(256)
    path = tmp_path_factory.mktemp("damaged") / "a.ckpt"
    path.write_bytes(data[: random.integers(1, len(data))] if seed % 3 == 0 else data)
    with contextlib.suppress(InputError):  # damage in unused bytes may pass
        Checkpoint.load(path)


def test_a_class_list_of_the_wrong_length_is_refused(tmp_path):
    path = published(tmp_path / "co2.pkl")
    with pytest.raises(InputError, match="the classifier has 3 classes, the class list 2"):
        Checkpoint.from_published(path, classes=CLASSES[:2])


class Payload:
    """Pickles into a call that would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_loading_executes_nothing(checkpoint, tmp_path):
    trap, path = tmp_path / "executed", tmp_path / "evil.ckpt"
    torch.save({"format": "co2net-checkpoint", "trap": Payload(trap)}, path)
    with pytest.raises(InputError, match="more than tensors and plain values"):
        Checkpoint.load(path)
    assert not trap.exists()
    torch.load(path, weights_only=False)
    assert trap.exists()  # the trap works


def test_damaged_and_foreign_files_are_refused(checkpoint, tmp_path):
    whole = tmp_path / "whole.ckpt"
    checkpoint.save(whole)
    data = whole.read_bytes()
    other = io.BytesIO()
    torch.save({"epoch": 3, "model_state": {}}, other)
    newer = io.BytesIO()
    torch.save({"format": "co2net-checkpoint", "version": 99}, newer)
    partial = io.BytesIO()
    torch.save({"format": "co2net-checkpoint", "version": 1}, partial)
    for name, content, text in (
        ("empty.ckpt", b"", "the file is empty"),
        ("cut.ckpt", data[: len(data) // 2], "damaged or truncated"),
        ("text.ckpt", b"no checkpoint at all", "not a checkpoint"),
        ("plain.ckpt", pickle.dumps({"a": 1}), "checkpoint"),
        ("other.ckpt", other.getvalue(), r"not a co2net checkpoint \(found .*'epoch'"),
        ("newer.ckpt", newer.getvalue(), "checkpoint version 99"),
        ("partial.ckpt", partial.getvalue(), "no 'model' in it"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"{re.escape(name)}: .*{text}"):
            Checkpoint.load(tmp_path / name)
    with pytest.raises(InputError, match="no such file"):
        Checkpoint.load(tmp_path / "missing.ckpt")


def test_class_names_must_fit_the_model(checkpoint):
    with pytest.raises(InputError, match="2 names, the model 3 classes"):
        Checkpoint(model=CONFIG, classes=("a", "b"), weights={})
    with pytest.raises(InputError, match="names a class twice"):
        Checkpoint(model=CONFIG, classes=("a", "b", "a"), weights={})


def test_weights_of_a_wrapped_network_are_read(checkpoint, tmp_path):
    path = tmp_path / "wrapped.ckpt"
    checkpoint.save(path)
    content = torch.load(path, weights_only=True)
    content["weights"] = {f"module.{name}": one for name, one in content["weights"].items()}
    torch.save(content, path)
    assert Checkpoint.load(path).weights.keys() == checkpoint.weights.keys()
