"""(cas, attention) of one video -> scored segments in snippets: CO2-Net's post-processing.

The numbers are those of the published program (method, section 4), so its quirks are kept; each is
named where it happens.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from co2net_runtime.decoding.nms import NestedSegments
from co2net_runtime.options import DecodeOptions

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SnippetSegments:
    """Scored segments of one video: class by class, within a class in the order soft-NMS took them.

    start, end (N,) int64: the segment covers the snippets [start, end). score (N,) float64,
    unbounded, can be negative. label (N,) int64: class index. In this order scores mostly, but not
    always, descend within a class: soft-NMS moves negative scores up.
    """

    start: Integers
    end: Integers
    score: Floats
    label: Integers

    def __len__(self) -> int:
        return len(self.start)


def decode(
    cas: npt.ArrayLike, attention: npt.ArrayLike, options: DecodeOptions = DecodeOptions()
) -> SnippetSegments:
    """Localize the actions of one video (method, section 4, steps 1 to 5).

    cas: (T, C+1) class logits per snippet, background last. attention: (T,) or (T, 1) in [0, 1].
    Both are taken as float32, as the network returns them; sums, means and everything after them
    are float64.

    Published quirk: a video in which no class reaches the threshold still gets its likeliest one.

    Nothing is dropped: every run of every threshold comes out, once per class, with the score that
    soft-NMS left it. Intervals to be ignored (step 6) are the evaluation's business.

    Raises ValueError for arrays of other shapes, T = 0 or values that are not finite.
    """
    cas, attention = _checked(cas, attention)
    activation = cas * attention[:, None]
    probabilities = activation_probabilities(activation, options)
    labels = localized_classes(probabilities, options)
    runs = attention_runs(attention, options.thresholds)
    return score_runs(activation, *runs, probabilities, labels, options)


def score_runs(
    activation: npt.NDArray[np.float32],
    start: Integers,
    end: Integers,
    level: Integers,
    probabilities: Floats,
    labels: Integers,
    options: DecodeOptions,
    *,
    first: int = 0,
) -> SnippetSegments:
    """Score runs and let soft-NMS decay them (method, section 4, steps 4 and 5).

    activation: cas * attention (n, C+1) float32 of the snippets first ... first + n - 1; these are
    all that the runs' outer regions see. start, end, level: (N,), snippets of the whole video, as
    from `attention_runs`. probabilities: (C,), of the classes in the video. labels: (S,), the
    classes to localize.
    """
    scores = _contrast(activation[:, labels], start, end, options.outer_margin, first)
    scores += options.class_score_weight * probabilities[labels]

    segments = NestedSegments(start, end, level, options.nms_sigma)
    taken = [segments.soft_nms(column) for column in scores.T]
    order = np.concatenate([order for order, _ in taken])
    decayed = np.concatenate([score for _, score in taken])
    return SnippetSegments(start[order], end[order], decayed, np.repeat(labels, len(start)))


def localized_classes(probabilities: Floats, options: DecodeOptions) -> Integers:
    """Return the classes (S,) that reach the threshold, or else the likeliest one (step 2)."""
    labels = np.flatnonzero(probabilities >= options.class_threshold)
    return labels if len(labels) else np.array([probabilities.argmax()])


def class_probabilities(
    cas: npt.ArrayLike, attention: npt.ArrayLike, options: DecodeOptions = DecodeOptions()
) -> Floats:
    """Return the probability of each class for the whole video, (C,) float64 (method, 4, step 1).

    It is the softmax over the C classes and the background, background dropped, of the mean over
    the top max(1, T // video_topk_divisor) snippets of cas * attention. Arguments and errors are
    those of `decode`.
    """
    cas, attention = _checked(cas, attention)
    return activation_probabilities(cas * attention[:, None], options)


def activation_probabilities(activation: npt.NDArray[np.float32], options: DecodeOptions) -> Floats:
    """Return `class_probabilities` from the product cas * attention (T, C+1)."""
    snippets = len(activation)
    top = max(1, snippets // options.video_topk_divisor)
    highest = np.partition(activation, snippets - top, axis=0)[snippets - top :]
    scores = highest.mean(axis=0, dtype=np.float64)
    weights = np.exp(scores - scores.max())
    probabilities: Floats = weights[:-1] / weights.sum()
    return probabilities


def attention_runs(
    attention: npt.NDArray[np.float32], thresholds: Floats
) -> tuple[Integers, Integers, Integers]:
    """Return the runs of consecutive snippets above each threshold (method, section 4, step 3).

    attention: (T,) float32. thresholds: (K,) float64, ascending. Returns start (N,), end (N,)
    exclusive, and level (N,), the index of the threshold; by level, then by start.

    The float32 attention is compared with the float64 threshold as the numbers they are:
    float32(0.1) = 0.100000001 lies above the threshold 0.1.

    Published quirk: a threshold gives nothing if the only snippet above it is snippet 0.
    """
    above = attention > thresholds[:, None]
    above[:, 0] &= above[:, 1:].any(axis=1)
    edges = np.zeros((len(thresholds), len(attention) + 1), dtype=np.int8)
    edges[:, :-1] = above
    edges[:, 1:] -= above
    level, start = np.nonzero(edges == 1)
    _, end = np.nonzero(edges == -1)
    return start, end, level


def _contrast(
    activation: npt.NDArray[np.float32],
    start: Integers,
    end: Integers,
    margin: float,
    first: int,
) -> Floats:
    """Return the outer-inner contrast of each segment, (N, S) (method, section 4, step 4).

    activation: (n, S) float32 of the snippets from `first` on. start, end: (N,). margin: width of
    the outer region on either side in lengths of the segment.

    Published quirks: the outer region is clipped to the video, both its far ends are rounded down
    (so the left side can be a snippet wider than the right), both sides share one mean, and where
    there is no outer snippet that mean is 0.
    """
    length = end - start
    left = np.maximum(start - margin * length, 0).astype(np.int64)
    # `end - 1` is the last snippet inside; the published far end is inclusive
    last = first + len(activation) - 1
    right = np.minimum(end - 1 + margin * length, last).astype(np.int64) + 1
    left, right = np.maximum(left, first) - first, right - first
    start, end = start - first, end - first
    sums = _prefix_sums(activation)
    inner = sums[end] - sums[start]
    outer = sums[right] - sums[left] - inner
    outer_length = right - left - length
    contrast: Floats = inner / length[:, None] - outer / np.maximum(outer_length, 1)[:, None]
    return contrast


def _prefix_sums(values: npt.NDArray[np.float32]) -> Floats:
    """Return sums (T+1, S) whose differences are the sums over [start, end) of values (T, S).

    The values are first rounded to a grid on which float64 sums are exact (relative to the largest
    value 2^-53 T). So equal content has an equal sum wherever it lies, and equal scores stay equal:
    plain prefix sums would decide such ties by their rounding errors.
    """
    values = values.astype(np.float64)
    _, exponent = np.frexp(np.abs(values).max(initial=0.0) * len(values))
    grid = np.ldexp(1.0, exponent - 53)
    sums = np.zeros((len(values) + 1, values.shape[1]))
    np.cumsum(np.rint(values / grid) * grid, axis=0, out=sums[1:])
    return sums


def _checked(
    cas: npt.ArrayLike, attention: npt.ArrayLike
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    cas = np.asarray(cas, dtype=np.float32)
    attention = np.asarray(attention, dtype=np.float32)
    if cas.ndim != 2 or cas.shape[0] < 1 or cas.shape[1] < 2:
        raise ValueError(
            f"expected cas (T, C+1) with T >= 1 snippets and C >= 1 classes, got {cas.shape}"
        )
    if attention.shape not in ((len(cas),), (len(cas), 1)):
        raise ValueError(
            f"expected attention ({len(cas)},) or ({len(cas)}, 1) for cas {cas.shape}, "
            f"got {attention.shape}"
        )
    for name, array in (("cas", cas), ("attention", attention)):
        if not np.isfinite(array).all():
            raise ValueError(f"{name} holds values that are not finite (NaN or infinite)")
    return cas, attention.reshape(-1)
