"""Rendered videos, and backbones small enough to run in milliseconds."""

from importlib.util import find_spec
from pathlib import Path

import pytest
from small_video import write_backbone, write_video

# a Jetson's Python has none of them
if not all(map(find_spec, ("av", "cv2", "onnx", "onnxruntime"))):
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture
def render(tmp_path):
    """Write a video; return its path."""

    def write(name="clip.mp4", frames=40, **options):
        path = tmp_path / name
        write_video(path, frames, **options)
        return path

    return write


@pytest.fixture(scope="session")
def make_backbone(tmp_path_factory):
    """Write a backbone; return its path."""
    folder = tmp_path_factory.mktemp("backbones")

    def make(stream, width, *, name=None, algorithm="dis-fast", seed=0, **options):
        path = folder / (name or f"{stream}-{width}-{algorithm}-{seed}.onnx")
        write_backbone(path, stream, width, algorithm=algorithm, seed=seed, **options)
        return path

    return make


@pytest.fixture(scope="session")
def rgb_path(make_backbone) -> Path:
    return make_backbone("rgb", 6)


@pytest.fixture(scope="session")
def flow_path(make_backbone) -> Path:
    return make_backbone("flow", 10)
