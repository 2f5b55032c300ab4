"""The tiny artefact, its features, and what PyTorch said of them."""

from pathlib import Path

import numpy as np
import pytest

from co2net_runtime.backends import EngineOptions
from co2net_runtime.localizer import Localizer

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def tiny_path() -> Path:
    return DATA / "tiny.onnx"


@pytest.fixture(scope="session")
def tiny_arrays() -> dict[str, np.ndarray]:
    with np.load(DATA / "tiny.npz") as archive:
        return dict(archive)


@pytest.fixture(scope="session")
def tiny_videos(tiny_arrays) -> dict[str, np.ndarray]:
    """Features (T, 16) by video."""
    return {
        name.removesuffix("_features"): array
        for name, array in tiny_arrays.items()
        if name.endswith("_features")
    }


@pytest.fixture
def localizer(tiny_path):
    with Localizer.load(
        tiny_path, EngineOptions(backend="onnxruntime", device="cpu", threads=1)
    ) as opened:
        yield opened


@pytest.fixture
def videos():
    """Make features (T, 16) float32 of the given lengths."""

    def make(*lengths: int, seed: int = 0) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        return [np.abs(rng.standard_normal((length, 16))).astype(np.float32) for length in lengths]

    return make


@pytest.fixture
def feature_folder(tmp_path, videos):
    """Write a folder of feature files video_000.npy, ... of the given lengths."""

    def write(*lengths: int, name: str = "features") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for index, features in enumerate(videos(*lengths)):
            np.save(folder / f"video_{index:03d}.npy", features)
        return folder

    return write


@pytest.fixture
def box(monkeypatch, tmp_path):
    """A pretended machine with a GPU and TensorRT, and a cache folder of its own."""
    # the stand-in's parser reads graphs with it; a Jetson's Python has none
    pytest.importorskip("onnx")
    from tests.runtime.standin.box import Box

    monkeypatch.setenv("CO2NET_CACHE", str(tmp_path / "cache"))
    made = Box()
    made.install(monkeypatch.setitem, monkeypatch.setattr)
    return made
