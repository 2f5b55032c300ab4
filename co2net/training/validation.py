"""What the network under training is worth: by segments, and by video labels alone."""

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from co2net.config import LossOptions, TrainConfig
from co2net.data.annotations import Video
from co2net.data.dataset import Dataset
from co2net.evaluation.mean_ap import classification_map, classification_scores
from co2net.evaluation.protocol import evaluate
from co2net.losses.objective import loss_terms
from co2net.model import CO2Net, Outputs
from co2net_runtime.decoding.detect import DetectionRules, detect


@dataclass(frozen=True)
class DetectionScores:
    """Localization on a subset; all values are fractions of 1.

    map: mean AP per tIoU threshold. averages: of it, keyed by range ("0.1:0.7", "all"). ap: per
    class, at each threshold; None where the class has no ground truth. classification_map: of
    the videos' labels. seconds: how long it took.
    """

    subset: str
    protocol: str
    tious: tuple[float, ...]
    map: tuple[float, ...]
    averages: dict[str, float]
    ap: dict[str, tuple[float, ...] | None]
    classification_map: float
    seconds: float


@dataclass(frozen=True)
class LabelScores:
    """How well the labels of held-out videos are told.

    classification_map: fraction of 1. loss: mean over the videos of the training loss without
    its contrastive term, which takes pairs. videos: how many.
    """

    classification_map: float
    loss: float
    videos: int


def score_detection(
    model: CO2Net, dataset: Dataset, subset: str, videos: Iterable[Video], config: TrainConfig
) -> DetectionScores:
    """Localize the actions of `videos`, of a subset, with the runtime's decoder; return the mAP."""
    started = time.perf_counter()
    rules = DetectionRules(dataset.classes, dataset.timing, config.decode)
    results, scores, seen = {}, [], []
    with evaluating(model):
        for video in videos:
            outputs = predict(model, dataset.features(video.name))
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
    """Score `videos` by what weak supervision knows of them, their labels."""
    scores, losses, seen = [], [], []
    with evaluating(model):
        for video in videos:
            outputs = predict(model, dataset.features(video.name))
            labels = torch.from_numpy(dataset.annotations.label_matrix([video]))
            terms = loss_terms(
                outputs, labels.to(outputs.cas.device), options, pairs=0, progress=1.0
            )
            scores.append(classification_scores(outputs.cas[0].cpu().numpy()))
            losses.append(terms["total"].item())
            seen.append(video)
    labels_matrix = dataset.annotations.label_matrix(seen)
    mean_ap = classification_map(np.stack(scores), labels_matrix)[1]
    return LabelScores(mean_ap, math.fsum(losses) / len(losses), len(losses))


def predict(model: CO2Net, features: npt.NDArray[Any]) -> Outputs:
    """Run the network on one video (T, D), whole, in float32; B = 1 in the outputs."""
    device = next(model.parameters()).device
    signal: npt.NDArray[np.float32] = np.array(features, dtype=np.float32)
    return model(torch.from_numpy(signal)[None].to(device))  # type: ignore[no-any-return]  # nn.Module


@contextmanager
def evaluating(model: CO2Net) -> Iterator[None]:
    """Put the model into evaluation mode, without gradients, and back into training mode."""
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train()
