"""Parity, accuracy and latency of CO2-Net artefacts."""

from co2net_runtime.version import VERSION as __version__

__all__ = ["__version__"]
