"""What the exporter's tests share: the tiny model that the runtime's tests use, too."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import onnx
import pytest

from co2net.model import CO2Net
from co2net_export import export
from co2net_export.graph.convert import convert

DATA = Path(__file__).parents[1] / "runtime" / "data"


@pytest.fixture(scope="session")
def tiny() -> ModuleType:
    """The module runtime/data/make_tiny.py: tiny_checkpoint(), tiny_videos(), write()."""
    spec = importlib.util.spec_from_file_location("make_tiny", DATA / "make_tiny.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session", autouse=True)
def _convert_once() -> Iterator[None]:
    """Let exports of equal models share a conversion: torch's exporter takes two seconds."""
    converted: dict[tuple[object, ...], bytes] = {}

    def cached(model: CO2Net, *, kind: str = "whole", opset: int = 20) -> onnx.ModelProto:
        weights = b"".join(value.numpy().tobytes() for value in model.state_dict().values())
        key = (model.config, weights, kind, opset)
        if key not in converted:
            converted[key] = convert(model, kind=kind, opset=opset).SerializeToString()
        return onnx.ModelProto.FromString(converted[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "convert", cached)
        yield


@pytest.fixture(scope="session")
def tiny_graph(tiny) -> onnx.ModelProto:
    """The tiny model's fp32 whole-video graph; not to be changed."""
    return convert(tiny.tiny_checkpoint().build())


@pytest.fixture(scope="session")
def checkpoint_path(tiny, tmp_path_factory) -> Path:
    """The tiny model's checkpoint file."""
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.ckpt"
    tiny.tiny_checkpoint().save(path)
    return path


@pytest.fixture(scope="session")
def data(tiny, tmp_path_factory) -> Path:
    """A folder of random features and annotations that fit the tiny model."""
    folder = tmp_path_factory.mktemp("data") / "dataset"
    tiny.write_dataset(folder)
    return folder
