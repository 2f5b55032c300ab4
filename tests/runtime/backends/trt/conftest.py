"""The tiny model in a pretended TensorRT."""

import pytest

from co2net_runtime.backends import EngineOptions
from co2net_runtime.backends.trt.profiles import Profile, TensorRtOptions
from co2net_runtime.localizer import Localizer

SHORT_AND_LONG = (Profile((1, 1, 4), (1, 50, 100)), Profile((1, 1, 1), (1, 200, 400)))


@pytest.fixture
def load(box, tiny_path):
    """Open the tiny model in the stand-in; all memory must be given back at the end."""
    opened = []

    def open_(path=tiny_path, **options):
        options = TensorRtOptions(**{"profiles": SHORT_AND_LONG, **options})
        opened.append(Localizer.load(path, EngineOptions(backend="tensorrt", tensorrt=options)))
        return opened[-1]

    yield open_
    for localizer in opened:
        localizer.close()
    assert not box.cuda.blocks
    assert not box.cuda.pinned
    assert not box.cuda.events
    assert not box.cuda.recorded
    assert not box.cuda.streams
    assert not box.cuda.graphs
    assert not box.cuda.contexts
