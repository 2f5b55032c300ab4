"""CO2-Net checkpoint to ONNX artefacts that carry their proof of parity."""

from co2net_runtime.version import VERSION as __version__

__all__ = ["__version__"]
