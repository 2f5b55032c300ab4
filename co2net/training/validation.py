"""How good the network under training is: by its segments, and by video labels alone."""

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from co2net.config import LossOptions, TrainConfig
from co2net.data.annotations import Video
from co2net.data.dataset import Dataset
from co2net.evaluation.mean_ap import classification_map, classification_scores
from co2net.evaluation.protocol import evaluate
from co2net.losses.co2 import co2_loss
from co2net.model import CO2Net, Outputs
from co2net_runtime.decoding.detect import DetectionRules, detect
from co2net_runtime.errors import InputError


@dataclass(frozen=True)
class DetectionScores:
    """Localization on a subset; all APs are fractions of 1."""

    subset: str
    protocol: str
    tious: tuple[float, ...]  # the thresholds
    map: tuple[float, ...]  # mean AP at each threshold
    averages: dict[str, float]  # of `map`, by range of thresholds ("0.1:0.7", "all")
    ap: dict[str, tuple[float, ...] | None]  # by class, at each threshold; None: no ground truth
    classification_map: float  # of the videos' labels
    seconds: float  # duration of the evaluation


@dataclass(frozen=True)
class LabelScores:
    """How well the labels of held-out videos are predicted."""

    classification_map: float  # fraction of 1
    loss: float  # mean training loss, without its contrastive term, which needs pairs
    videos: int  # number of videos


def score_detection(
    model: CO2Net, dataset: Dataset, subset: str, videos: Iterable[Video], config: TrainConfig
) -> DetectionScores:
    """Localize the actions of `videos` with the runtime's decoder and return the mAP.

    Args:
        model: On any device; it runs in float32.
        dataset: Where the videos come from.
        subset: Name of the videos' subset, for the record.
        videos: The videos to evaluate.
        config: Decode and evaluation options.

    Raises:
        InputError: A video's features are damaged or not finite, or the network's outputs are not
            finite; the file is named.
    """
    started = time.perf_counter()
    rules = DetectionRules(dataset.classes, dataset.timing, config.decode)
    results, scores, seen = {}, [], []
    with evaluating(model):
        for video in videos:
            outputs = predict(model, dataset, video.name)
            cas, attention = outputs.cas[0].cpu().numpy(), outputs.attention[0, :, 0].cpu().numpy()
            results[video.name] = detect(cas, attention, rules)
            scores.append(classification_scores(cas))
            seen.append(video)
    judged = evaluate(results, seen, dataset.classes, config.evaluation, dataset.timing)
    labels = dataset.annotations.label_matrix(seen)
    result = judged.result
    return DetectionScores(
        subset=subset,
        protocol=config.evaluation.protocol,
        tious=result.tious,
        map=tuple(result.map.tolist()),
        averages=result.averages,
        ap={
            name: tuple(result.ap[:, index].tolist()) if result.instances[index] else None
            for index, name in enumerate(dataset.classes)
        },
        classification_map=classification_map(np.stack(scores), labels)[1],
        seconds=time.perf_counter() - started,
    )


def score_labels(
    model: CO2Net, dataset: Dataset, videos: Iterable[Video], options: LossOptions
) -> LabelScores:
    """Score `videos` by their labels, all that weak supervision knows of them.

    Raises InputError as `score_detection` does.
    """
    scores, losses, seen = [], [], []
    with evaluating(model):
        for video in videos:
            outputs = predict(model, dataset, video.name)
            labels = torch.from_numpy(dataset.annotations.label_matrix([video]))
            terms = co2_loss(outputs, labels.to(outputs.cas.device), options, pairs=0)
            scores.append(classification_scores(outputs.cas[0].cpu().numpy()))
            losses.append(_finite(terms["total"], dataset, video))
            seen.append(video)
    labels_matrix = dataset.annotations.label_matrix(seen)
    mean_ap = classification_map(np.stack(scores), labels_matrix)[1]
    return LabelScores(mean_ap, math.fsum(losses) / len(losses), len(losses))


def predict(model: CO2Net, dataset: Dataset, name: str) -> Outputs:
    """Run the network on one whole video in float32; the outputs have B = 1.

    Raises InputError naming the file if its features or the network's outputs are not finite.
    """
    device = next(model.parameters()).device
    features = torch.from_numpy(np.array(dataset.load_features(name)))
    # not model(): that would run what torch.compile made of the network for training
    outputs = model.forward(features[None].to(device))
    if not (outputs.cas.isfinite().all() and outputs.attention.isfinite().all()):
        raise InputError(
            f"{dataset.where(name)}: the network's outputs on these features are not finite: "
            f"values of up to {features.abs().max():.3g} are too large, or the weights diverged"
        )
    return outputs


def _finite(loss: torch.Tensor, dataset: Dataset, video: Video) -> float:
    value = loss.item()
    if not math.isfinite(value):
        raise InputError(
            f"{dataset.where(video.name)}: the loss on these features is not finite: their values "
            "are too large, or the weights diverged"
        )
    return value


@contextmanager
def evaluating(model: CO2Net) -> Iterator[None]:
    """Put the model into evaluation mode, without gradients, and back into training mode."""
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train()
