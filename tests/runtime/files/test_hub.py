"""Models on the Hugging Face Hub, against its cache as documented; nothing is downloaded."""

import os
import shutil
import subprocess
import sys

import pytest

from co2net_runtime.errors import InputError, MissingDependencyError
from co2net_runtime.files.hub import local_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An offline cache; call it with a repository and its files to put them there."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    def put(repo, **files):
        folder = tmp_path / f"models--{repo.replace('/', '--')}"
        snapshot = folder / "snapshots" / COMMIT
        for part in (snapshot, folder / "refs", folder / "blobs"):
            part.mkdir(parents=True)
        (folder / "refs" / "main").write_text(COMMIT)
        for number, (name, source) in enumerate(files.items()):
            shutil.copy(source, folder / "blobs" / str(number))
            (snapshot / name).symlink_to(f"../../blobs/{number}")
        return snapshot

    return put


def test_a_model_from_the_cache_runs(hub, tiny_path, tmp_path):
    """In a process of its own, told by the environment alone."""
    chunk = tiny_path.with_name("tiny.chunk.onnx")
    snapshot = hub("org/name", **{"tiny.onnx": tiny_path, "tiny.chunk.onnx": chunk})
    program = """
import numpy as np
from co2net_runtime import EngineOptions, Localizer
features = np.ones((30, 16), np.float32)
with Localizer.load("hf://org/name", EngineOptions(device="cpu", threads=1), chunk=50) as one:
    print(one.network.path, len(one(features)))
"""
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    path, count = done.stdout.rsplit(maxsplit=1)
    assert path == str(snapshot / "tiny.onnx")
    assert int(count) > 0


def test_names_revisions_and_files(hub, tiny_path):
    snapshot = hub("org/name", **{"model.onnx": tiny_path, "model.fp16.onnx": tiny_path})
    for name, file in {
        "hf://org/name": "model.onnx",
        "hf:/org/name": "model.onnx",
        f"hf://org/name@{COMMIT}": "model.onnx",
        "hf://org/name@main/model.fp16.onnx": "model.fp16.onnx",
        "hf://org/name/model.fp16.onnx": "model.fp16.onnx",
    }.items():
        assert local_model(name) == str(snapshot / file)
    assert local_model(tiny_path) == str(tiny_path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("hf://org", "expected hf://ORG/NAME or hf://ORG/NAME/FILE.onnx"),
        ("hf://org/name/model.ckpt", "expected hf://ORG/NAME or hf://ORG/NAME/FILE.onnx"),
        ("hf://org/name", "expected one model, found a.onnx, b.onnx: name it"),
        ("hf://org/name/c.onnx", "no c.onnx in this model's repository"),
        ("hf://org/name@v9", "cannot be had from the Hugging Face Hub"),
        ("hf://org/other", "cannot be had from the Hugging Face Hub"),
        ("hf://org/bad name", "cannot be had from the Hugging Face Hub"),
    ],
)
def test_what_is_not_there_is_one_line(hub, tiny_path, name, text):
    hub("org/name", **{"a.onnx": tiny_path, "b.onnx": tiny_path})
    with pytest.raises(InputError) as raised:
        local_model(name)
    assert text in str(raised.value)
    assert "\n" not in str(raised.value)


def test_without_huggingface_hub_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'co2net\[hub\]'"):
        local_model("hf://org/name")
