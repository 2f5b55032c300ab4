"""Every kind of artefact in this machine's ONNX Runtime, as other engines run it elsewhere.

on_python310.sh runs this with the oldest ONNX Runtime that is supported, too.
"""

from pathlib import Path

import numpy as np
import pytest

from co2net_runtime.backends import EngineOptions
from co2net_runtime.network.network import Network

DATA = Path(__file__).parents[1] / "data"
# an old processor's int8 kernels may round a last bit elsewhere
TOLERANCES = {
    "tiny": 1e-5,
    "tiny_pool": 1e-5,
    "tiny_cpu": 1e-4,
    "tiny.fp16": 5e-3,
    "tiny.int8-cpu": 2e-2,
    "tiny.int8-trt": 5e-2,  # its float16 rounds elsewhere in onnxruntime 1.18
}


@pytest.mark.parametrize("graph", ["whole", "chunk"])
@pytest.mark.parametrize("name", TOLERANCES)
def test_the_same_numbers_as_at_export(name, graph, tiny_arrays):
    path = DATA / f"{name}.onnx"
    if graph == "chunk" and not path.with_suffix(".chunk.onnx").is_file():
        pytest.skip("exported without --chunks")
    chunk = 16 if graph == "chunk" else None
    with Network.open(path, EngineOptions(device="cpu"), chunk=chunk) as network:
        assert network.contract.precision == (name.partition(".")[2] or "fp32")
        (found,) = network.run([tiny_arrays["video_40_features"]])
    known = name.replace("_cpu", "")
    for output, value in (("cas", found.cas), ("attention", found.attention[:, None])):
        expected = tiny_arrays[f"{known}_video_40_{output}"].reshape(value.shape)
        np.testing.assert_allclose(value, expected, rtol=0, atol=TOLERANCES[name])
