"""CO2-Net training: data, model, losses, evaluation, checkpoints."""

from co2net_runtime.version import VERSION as __version__

__all__ = ["__version__"]
