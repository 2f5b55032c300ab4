"""The loss that the options name."""

from torch import Tensor

from co2net.config import LossOptions
from co2net.losses.co2 import co2_loss
from co2net.losses.evidential import evidential_loss
from co2net.model import Outputs


def loss_terms(
    outputs: Outputs, labels: Tensor, options: LossOptions, *, pairs: int, progress: float
) -> dict[str, Tensor]:
    """Return the "total" to minimise and its unweighted terms.

    labels: (B, C), pairs first. progress: share of the training that is done, in [0, 1].
    """
    if options.strategy == "evidential":
        return evidential_loss(outputs, labels, options, pairs=pairs, progress=progress)
    return co2_loss(outputs, labels, options, pairs=pairs)
