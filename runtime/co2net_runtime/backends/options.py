"""How a model is run: every option that an engine takes, in one dataclass."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from co2net_runtime.backends.trt.profiles import TensorRtOptions

BackendName = Literal["auto", "onnxruntime", "openvino", "onnxruntime-tensorrt", "tensorrt"]
BACKENDS: tuple[BackendName, ...] = (
    "auto",
    "onnxruntime",
    "openvino",
    "onnxruntime-tensorrt",
    "tensorrt",
)
CpuForm = Literal["plain", "fast"]
# The fast form takes about 0.3 s to open (its weights are packed for the matrix products) and
# saves 0.13 ms a snippet on 2 cores: this many snippets pay for it.
FAST_FORM_PAYS = 2000


@dataclass(frozen=True)
class EngineOptions:
    """How a model is run. What is asked for runs, or it is an error: nothing falls back.

    With more or fewer `threads`, and in the other `cpu_form`, results differ in the last bits.

    Example:
        >>> EngineOptions(backend="onnxruntime", device="cpu", threads=2).threads
        2
    """

    # "onnxruntime", its provider "onnxruntime-tensorrt", "openvino", "tensorrt" (without ONNX
    # Runtime; builds an engine at first, once per GPU), or "auto": ONNX Runtime on a GPU where
    # there is one, else the installed engine that was measured fastest for this kind of file
    backend: BackendName = "auto"
    # "cpu", "cuda:0", for OpenVINO also "gpu" (Intel's), or "auto": the first GPU where the engine
    # is made for GPUs and the driver has one, else the CPU
    device: str = "auto"
    threads: int | None = None  # of one operator on the CPU; None: all cores
    spinning: bool = False  # threads wait in a loop: a little faster, whole cores stay busy
    memory_arena: bool = True  # keep freed memory for the next video
    tf32: bool = False  # let a GPU round fp32 multiplications to 10 bits, for speed
    bf16: bool = False  # let a CPU round multiplications to 8 bits, for speed
    tensorrt: TensorRtOptions = TensorRtOptions()  # how TensorRT engines are built and run
    # of engines and compiled models; None: $CO2NET_CACHE, else the user's cache folder
    cache: str | os.PathLike[str] | None = None
    # Of a file exported with --optimize cpu, in ONNX Runtime on the CPU; other engines, and GPUs,
    # take its plain form. "fast" is about twice as fast from 80
    # snippets a call on; opening it takes 0.3 s and the memory of its packed weights. "plain"
    # opens in milliseconds and is the better choice below 2000 snippets. Other files have one form.
    cpu_form: CpuForm = "fast"
    # Snippets of the videos to come, where that is known: engines that are fast with long videos
    # may be slow with short ones, and "auto" chooses by it. None: long ones.
    typical_length: int | None = None

    def suiting(self, lengths: Iterable[int | None]) -> "EngineOptions":
        """Return these options with the `cpu_form` and `typical_length` for videos to come.

        Args:
            lengths: Snippets of each video; None where they are not known. They are taken only
                until it is clear that the fast form pays.
        """
        snippets = known = 0
        for length in lengths:
            if length is None:
                continue
            snippets, known = snippets + length, known + 1
            if snippets >= FAST_FORM_PAYS:
                break
        form: CpuForm = "fast" if snippets >= FAST_FORM_PAYS else "plain"
        typical = snippets // known if known else None
        return replace(self, cpu_form=form, typical_length=typical)
