"""(cas, attention) of one video -> scored segments in snippets: CO2-Net's post-processing.

The numbers are those of the published program (method, section 4), so its quirks are kept; each is
named where it happens.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from co2net_runtime.decoding.nms import NestedSegments
from co2net_runtime.options import DecodeOptions

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

# values of a whole video looked at together: more would take memory and save no time
BLOCK = 1 << 19


@dataclass(frozen=True)
class SnippetSegments:
    """Scored segments of one video: class by class, within a class in the order soft-NMS took them.

    In this order scores mostly, but not always, descend within a class: soft-NMS moves negative
    scores up.
    """

    start: Integers  # (N,) first snippet
    end: Integers  # (N,) snippet behind the last one
    score: Floats  # (N,) unbounded, can be negative
    label: Integers  # (N,) class index

    def __len__(self) -> int:
        return len(self.start)


def decode(
    cas: npt.ArrayLike, attention: npt.ArrayLike, options: DecodeOptions = DecodeOptions()
) -> SnippetSegments:
    """Localize the actions of one video (method, section 4, steps 1 to 5).

    Sums, means and everything after them are float64. Nothing is dropped: every run of every
    threshold comes out, once per class, with the score that soft-NMS left it. Intervals to be
    ignored (step 6) belong to the evaluation. Memory at the peak is about 30 bytes a snippet.

    Published quirk: a video in which no class reaches the threshold still gets its likeliest one.

    Args:
        cas: (T, C+1) class logits per snippet, background last; taken as float32, as the network
            returns them.
        attention: (T,) or (T, 1) in [0, 1]; taken as float32.
        options: Constants of the post-processing.

    Raises:
        ValueError: The arrays have other shapes, T is 0, or a value is not finite.
    """
    logits, weights = _checked(cas, attention)
    probabilities = _probabilities(logits, weights, options)
    labels = localized_classes(probabilities, options)
    runs = attention_runs(weights, options.thresholds)

    def activation(label: int) -> npt.NDArray[np.float32]:
        column: npt.NDArray[np.float32] = logits[:, label] * weights
        return column

    return _score(activation, *runs, probabilities, labels, options, first=0, last=len(logits) - 1)


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

    Args:
        activation: cas * attention (n, C+1) of the snippets first ... first + n - 1; these are all
            that the runs' outer regions see.
        start: (N,) in snippets of the whole video, as from `attention_runs`.
        end: (N,) likewise, exclusive.
        level: (N,) likewise.
        probabilities: (C,) of the classes in the video.
        labels: (S,) the classes to localize.
        options: Constants of the post-processing.
        first: Number of the first snippet given.

    Raises:
        ValueError: An activation is not finite.
    """
    last = first + len(activation) - 1
    columns = activation.T.__getitem__
    return _score(
        columns, start, end, level, probabilities, labels, options, first=first, last=last
    )


def _score(
    activation: Callable[[int], npt.NDArray[np.float32]],
    start: Integers,
    end: Integers,
    level: Integers,
    probabilities: Floats,
    labels: Integers,
    options: DecodeOptions,
    *,
    first: int,
    last: int,
) -> SnippetSegments:
    """Score runs as `score_runs` does, one class at a time: the sums of a long video are large.

    activation: gives cas * attention (n,) of a class in the snippets first to last.
    """
    largest = max(float(np.abs(activation(label)).max()) for label in labels)
    scores = [
        _contrast(_prefix_sums(activation(label), largest), start, end, options, first, last)
        + options.class_score_weight * probabilities[label]
        for label in labels
    ]
    segments = NestedSegments(start, end, level, options.nms_sigma)
    taken = [segments.soft_nms(own) for own in scores]
    del segments, scores
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
    return _probabilities(*_checked(cas, attention), options)


def activation_probabilities(activation: npt.NDArray[np.float32], options: DecodeOptions) -> Floats:
    """Return `class_probabilities` from the product cas * attention (T, C+1)."""
    return _softmax(_top_means(activation.copy(), options))


def _probabilities(
    cas: npt.NDArray[np.float32], attention: npt.NDArray[np.float32], options: DecodeOptions
) -> Floats:
    """Return `class_probabilities`, in a long video of a few classes at a time."""
    # the mean over two columns or more adds up row by row, over one in another order
    width = max(2, BLOCK // len(cas))
    last = max(0, cas.shape[1] - width)
    scores = np.empty(cas.shape[1])
    for begin in [*range(0, last, width), last]:
        block = slice(begin, begin + width)
        scores[block] = _top_means(cas[:, block] * attention[:, np.newaxis], options)
    return _softmax(scores)


def _top_means(activation: npt.NDArray[np.float32], options: DecodeOptions) -> Floats:
    """Return the mean over each column's highest values; the columns are reordered in place."""
    snippets = len(activation)
    top = max(1, snippets // options.video_topk_divisor)
    activation.partition(snippets - top, axis=0)
    means: Floats = activation[snippets - top :].mean(axis=0, dtype=np.float64)
    return means


def _softmax(scores: Floats) -> Floats:
    """Return the softmax of scores (C + 1,) without its last entry, the background's."""
    weights = np.exp(scores - scores.max())
    probabilities: Floats = weights[:-1] / weights.sum()
    return probabilities


def attention_runs(
    attention: npt.NDArray[np.float32], thresholds: Floats
) -> tuple[Integers, Integers, Integers]:
    """Return the runs of consecutive snippets above each threshold (method, section 4, step 3).

    The float32 attention is compared with the float64 threshold as the numbers they are:
    float32(0.1) = 0.100000001 lies above the threshold 0.1.

    Published quirk: a threshold gives nothing if the only snippet above it is snippet 0.

    Args:
        attention: (T,) float32.
        thresholds: (K,) float64, ascending.

    Returns:
        start (N,), end (N,) exclusive, and level (N,), the index of the threshold; by level, then
        by start.
    """
    # in a long video of a few thresholds at a time
    count = max(1, BLOCK // len(attention))
    parts = [
        _runs_above(attention, thresholds[begin : begin + count], begin)
        for begin in range(0, len(thresholds), count)
    ]
    if len(parts) == 1:
        return parts[0]
    start, end, level = (np.concatenate(part) for part in zip(*parts, strict=True))
    return start, end, level


def _runs_above(
    attention: npt.NDArray[np.float32], thresholds: Floats, lowest: int
) -> tuple[Integers, Integers, Integers]:
    """Find runs as `attention_runs` does, for thresholds of which the first is number `lowest`."""
    above = attention > thresholds[:, None]
    above[:, 0] &= above[:, 1:].any(axis=1)
    edges = np.zeros((len(thresholds), len(attention) + 1), dtype=np.int8)
    edges[:, :-1] = above
    edges[:, 1:] -= above
    level, start = np.nonzero(edges == 1)
    _, end = np.nonzero(edges == -1)
    return start, end, level + lowest


def _contrast(
    sums: Floats, start: Integers, end: Integers, options: DecodeOptions, first: int, last: int
) -> Floats:
    """Return the outer-inner contrast of each segment, (N,) (method, section 4, step 4).

    Published quirks: the outer region, `outer_margin` lengths of the segment on either side, is
    clipped to the video, both its far ends are rounded down (so the left side can be a snippet
    wider than the right), both sides share one mean, and where there is no outer snippet that mean
    is 0.

    Args:
        sums: (n + 1,) sums of the class's activation over the snippets first to last.
        start: (N,) in snippets of the whole video.
        end: (N,) likewise, exclusive.
        options: Constants of the post-processing.
        first: Number of the first snippet that is known.
        last: Number of the last one.
    """
    length = end - start
    margin = options.outer_margin
    left = np.maximum(start - margin * length, 0).astype(np.int64)
    # `end - 1` is the last snippet inside; the published far end is inclusive
    right = np.minimum(end - 1 + margin * length, last).astype(np.int64) + 1
    left, right = np.maximum(left, first) - first, right - first
    start, end = start - first, end - first
    inner = sums[end] - sums[start]
    outer = sums[right] - sums[left] - inner
    outer_length = right - left - length
    contrast: Floats = inner / length - outer / np.maximum(outer_length, 1)
    return contrast


def _prefix_sums(values: npt.NDArray[np.float32], largest: float) -> Floats:
    """Return sums (T+1,) whose differences are the sums over [start, end) of values (T,).

    The values are first rounded to a grid on which float64 sums are exact (2^-53 T of `largest`,
    the largest absolute value of all classes). So equal content has an equal sum wherever it lies,
    and equal scores stay equal: plain prefix sums would decide such ties by their rounding errors.
    """
    _, exponent = np.frexp(largest * len(values))
    grid = np.ldexp(1.0, exponent - 53)
    sums = np.zeros(len(values) + 1)
    rounded = sums[1:]
    # numpy before 2 would divide by the scalar in float32, where a small grid is zero
    np.divide(values, grid, out=rounded, dtype=np.float64)
    np.rint(rounded, out=rounded)
    np.multiply(rounded, grid, out=rounded)
    np.cumsum(rounded, out=rounded)
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
        if not is_finite(array):
            raise ValueError(f"{name} holds values that are not finite (NaN or infinite)")
    return cas, attention.reshape(-1)


def is_finite(values: npt.NDArray[np.float32]) -> bool:
    """Return whether no value is NaN or infinite, without an array as large as theirs."""
    # both are NaN if any value is
    return math.isfinite(values.min()) and math.isfinite(values.max())
