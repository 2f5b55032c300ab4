"""CO2-Net inference without torch: numpy, click and one engine, imported lazily."""

from typing import TYPE_CHECKING, Any

from co2net_runtime.version import VERSION as __version__

if TYPE_CHECKING:
    from co2net_runtime.detections import Detections
    from co2net_runtime.localizer import Localizer
    from co2net_runtime.video.localizer import VideoLocalizer

__all__ = ["Detections", "Localizer", "VideoLocalizer", "__version__"]

_HOME = {
    "Detections": "co2net_runtime.detections",
    "Localizer": "co2net_runtime.localizer",
    "VideoLocalizer": "co2net_runtime.video.localizer",
}


def __getattr__(name: str) -> Any:
    """Import what a name stands for when it is first asked for."""
    if name in _HOME:
        import importlib

        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
