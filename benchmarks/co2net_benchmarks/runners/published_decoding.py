"""The published post-processing, transcribed plainly from the method, section 4, as nested loops.

The baseline of --published-decoding, and an independent oracle of the decoder's tests: from the
runtime it takes the constants and the form of the result, and none of its code.
"""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from co2net_runtime.decoding.proposals import SnippetSegments
from co2net_runtime.options import DecodeOptions

# [start, end) in snippets, score
Proposal = tuple[int, int, float]


def soft_nms_in_loops(proposals: list[Proposal], sigma: float) -> list[Proposal]:
    """Soft-NMS (method, section 4, step 5) as two nested Python loops."""
    rest = list(proposals)
    taken = []
    while rest:
        best = 0
        for i in range(1, len(rest)):
            if rest[i][2] > rest[best][2]:
                best = i
        start, end, score = rest[best]
        taken.append((start, end, score))
        rest[best] = rest[0]
        rest = rest[1:]
        for i, (other_start, other_end, other_score) in enumerate(rest):
            inter = max(0, min(end, other_end) - max(start, other_start) + 1)
            union = (end - start + 1) + (other_end - other_start + 1) - inter
            decay = math.exp(-((inter / union) ** 2) / sigma)
            rest[i] = (other_start, other_end, other_score * decay)
    return taken


def decode(
    cas: npt.NDArray[np.float32],
    attention: npt.NDArray[np.float32],
    options: DecodeOptions = DecodeOptions(),
    soft_nms: Callable[[list[Proposal], float], list[Proposal]] = soft_nms_in_loops,
) -> SnippetSegments:
    """Localize the actions of one video (method, section 4, steps 1 to 5).

    Args:
        cas: (T, C+1) float32, background last.
        attention: (T,) or (T, 1) float32.
        options: Constants of the post-processing.
        soft_nms: Step 5; another one may be timed in its place.
    """
    attention = attention.reshape(-1)
    snippets = len(attention)
    activation = cas * attention[:, None]

    top = np.sort(activation, axis=0)[-max(1, snippets // options.video_topk_divisor) :]
    video_score = np.mean(top, axis=0, dtype=np.float64)
    weights = np.exp(video_score - video_score.max())
    probability = (weights[:-1] / weights.sum()).tolist()
    labels = [c for c, p in enumerate(probability) if p >= options.class_threshold]
    if not labels:
        labels = [probability.index(max(probability))]

    proposals: dict[int, list[Proposal]] = {label: [] for label in labels}
    values = {label: activation[:, label].astype(np.float64).tolist() for label in labels}
    for threshold in options.thresholds:
        indices = np.flatnonzero(attention > np.array([threshold])).tolist()
        if not any(indices):
            continue
        runs = [[indices[0], indices[0]]]
        for index in indices[1:]:
            if index == runs[-1][1] + 1:
                runs[-1][1] = index
            else:
                runs.append([index, index])
        for label in labels:
            z = values[label]
            for i, j in runs:
                length = j - i + 1
                low = max(0, int(i - options.outer_margin * length))
                high = min(snippets - 1, int(j + options.outer_margin * length))
                inner = z[i : j + 1]
                outer = z[low:i] + z[j + 1 : high + 1]
                score = sum(inner) / len(inner) - (sum(outer) / len(outer) if outer else 0.0)
                score += options.class_score_weight * probability[label]
                proposals[label].append((i, j + 1, score))

    rows = [
        (start, end, score, label)
        for label in labels
        if proposals[label]
        for start, end, score in soft_nms(proposals[label], options.nms_sigma)
    ]
    table = np.array(rows, dtype=np.float64).reshape(-1, 4)
    start, end, label = table[:, [0, 1, 3]].T.astype(np.int64)
    return SnippetSegments(start, end, table[:, 2], label)
