"""CO2-Net inference without torch: numpy, click and one engine, imported when they are used.

localizer    Localizer: features -> Detections, the door to one model
detections   Detections of one video, and ActivityNet result files
live         LiveLocalizer and LivePool: streams of features -> events while they happen
video        videos -> features by backbones; VideoLocalizer: videos -> Detections
options      how snippets relate to time, and the constants of decoding
errors       what can go wrong on the user's side
features     feature arrays (T, D) float32, checked; feature_files: which files there are
artefact     the metadata of model files
network      features -> activations: batches, chunks, many files
decoding     (cas, attention) -> segments
backends     ONNX Runtime, OpenVINO and TensorRT behind one protocol, and EngineOptions
output       result files, subtitles, timelines, tasks for annotation tools
shards       archives cut into parts; archive: the parts on a cluster
serving      TritonLocalizer and co2net-triton: a model on a Triton Inference Server
watching     figures, health and systemd, for operators
diagnostics  co2net-doctor: checks, the selftest, the fastest engine
files        atomic writing, records, locks, the cache folder
cli          the command lines; commands: their entry points
version      the version of all four packages
"""

from typing import TYPE_CHECKING, Any

from co2net_runtime.version import VERSION as __version__

if TYPE_CHECKING:
    from co2net_runtime.backends import EngineOptions
    from co2net_runtime.detections import Detections, Segment
    from co2net_runtime.errors import (
        BackendError,
        Co2netError,
        ContractError,
        InputError,
        MissingDependencyError,
    )
    from co2net_runtime.live.pool import LiveLocalizer, LivePool
    from co2net_runtime.live.stream import LiveOptions
    from co2net_runtime.localizer import Localizer
    from co2net_runtime.serving.client import TritonLocalizer
    from co2net_runtime.video.localizer import VideoLocalizer

__all__ = [
    "BackendError",
    "Co2netError",
    "ContractError",
    "Detections",
    "EngineOptions",
    "InputError",
    "LiveLocalizer",
    "LiveOptions",
    "LivePool",
    "Localizer",
    "MissingDependencyError",
    "Segment",
    "TritonLocalizer",
    "VideoLocalizer",
    "__version__",
]

_HOME = {
    "Localizer": "localizer",
    "Detections": "detections",
    "Segment": "detections",
    "EngineOptions": "backends",
    "LiveLocalizer": "live.pool",
    "LivePool": "live.pool",
    "LiveOptions": "live.stream",
    "VideoLocalizer": "video.localizer",
    "TritonLocalizer": "serving.client",
    "Co2netError": "errors",
    "InputError": "errors",
    "ContractError": "errors",
    "BackendError": "errors",
    "MissingDependencyError": "errors",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name in _HOME:
        import importlib

        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the public names, imported or not yet."""
    return sorted({*globals(), *__all__})
