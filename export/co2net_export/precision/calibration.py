"""A graph's activations on real features: the ranges and means that quantization works from."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from co2net_export.graph.session import open_graph
from co2net_runtime.errors import InputError

Features = npt.NDArray[np.float32]
BINS = 4096
# of the values between the two clipped tails; 99.9 clipped too much, 99.999 rounded more
PERCENTILE = 99.995
# levels of one sign of int8; an unsigned tensor uses twice as many on one side
ENTROPY_LEVELS = 128


@dataclass(frozen=True)
class Range:
    """Interval that the quantized values of a tensor cover; holds 0, so that padding is exact."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low <= 0 <= self.high:
            raise ValueError(f"a quantized range must hold 0, got [{self.low}, {self.high}]")


class Histogram:
    """Counts of a tensor's values over a symmetric interval that doubles when it is outgrown.

    Beside them, the mean of each channel, the tensor's second axis.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(BINS, dtype=np.int64)
        self.limit = 2.0**-20
        self.low = 0.0
        self.high = 0.0
        self._sums: npt.NDArray[np.float64] = np.zeros(1)
        self._rows = 0

    def add(self, values: npt.NDArray[np.float32]) -> None:
        """Count values (N, C, ...)."""
        channels = np.moveaxis(values, 1, 0).reshape(values.shape[1], -1)
        self._sums = self._sums + channels.sum(axis=1, dtype=np.float64)
        self._rows += channels.shape[1]
        self.low = min(self.low, float(values.min()))
        self.high = max(self.high, float(values.max()))
        while max(-self.low, self.high) > self.limit:
            # two old bins make one new one: exact, nothing is counted twice or guessed
            merged = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.pad(merged, BINS // 4)
            self.limit *= 2
        index = ((values.ravel() / np.float32(self.limit) + 1) * (BINS / 2)).astype(np.int64)
        self.counts += np.bincount(np.minimum(index, BINS - 1), minlength=BINS)

    @property
    def means(self) -> npt.NDArray[np.float64]:
        """Mean of each channel, (C,)."""
        return self._sums / max(1, self._rows)

    @property
    def edges(self) -> npt.NDArray[np.float64]:
        """Bin edges, (BINS + 1,), ascending."""
        return np.linspace(-self.limit, self.limit, BINS + 1)


def min_max(histogram: Histogram) -> Range:
    """Cover all values."""
    return Range(histogram.low, histogram.high)


def percentile(histogram: Histogram) -> Range:
    """Leave out (100 - PERCENTILE) / 2 percent of the values on either side."""
    share = np.cumsum(histogram.counts) / histogram.counts.sum()
    tail = (1 - PERCENTILE / 100) / 2
    low = histogram.edges[np.searchsorted(share, tail, side="right")]
    high = histogram.edges[np.searchsorted(share, 1 - tail) + 1]
    return _clipped(histogram, low, high)


def entropy(histogram: Histogram) -> Range:
    """Clip where the int8 distribution diverges least from the real one.

    The Kullback-Leibler criterion of TensorRT's calibrator (Migacz, 8-bit inference with
    TensorRT, GTC 2017), on magnitudes.
    """
    half = BINS // 2
    magnitudes = histogram.counts[half:] + histogram.counts[:half][::-1]
    used = int(np.flatnonzero(magnitudes)[-1]) + 1 if magnitudes.any() else ENTROPY_LEVELS
    candidates = range(ENTROPY_LEVELS, max(used, ENTROPY_LEVELS) + 1)
    best = min(candidates, key=lambda bins: _divergence(magnitudes, bins))
    limit = histogram.limit * best / half
    return _clipped(histogram, -limit, limit)


METHODS: Mapping[str, Callable[[Histogram], Range]] = MappingProxyType(
    {"min-max": min_max, "percentile": percentile, "entropy": entropy}
)


def _clipped(histogram: Histogram, low: float, high: float) -> Range:
    return Range(
        float(min(0.0, max(low, histogram.low))), float(max(0.0, min(high, histogram.high)))
    )


def _divergence(magnitudes: npt.NDArray[np.int64], bins: int) -> float:
    """KL divergence of the first `bins` bins, clipped, from their ENTROPY_LEVELS-level version."""
    kept = magnitudes[:bins].astype(np.float64)
    clipped = kept.copy()
    clipped[-1] += magnitudes[bins:].sum()
    level = np.arange(bins) * ENTROPY_LEVELS // bins
    occupied = kept > 0
    totals = np.bincount(level, kept, ENTROPY_LEVELS)
    bins_used = np.bincount(level, occupied, ENTROPY_LEVELS)
    quantized = np.where(occupied, totals[level] / np.maximum(bins_used[level], 1), 0.0)
    if not quantized.any():
        return float("inf")
    p, q = clipped / clipped.sum(), quantized / quantized.sum()
    both = (p > 0) & (q > 0)
    # mass that the quantized version cannot hold counts as if it had one part in a million
    lost = (p > 0) & (q == 0)
    divergence = (p[both] * np.log(p[both] / q[both])).sum()
    return float(divergence + (p[lost] * np.log(p[lost] / 1e-6)).sum())


def collect(
    model: onnx.ModelProto, values: Sequence[str], videos: Iterable[Features]
) -> dict[str, Histogram]:
    """Run the fp32 whole-video graph on videos (T, D) and count what the named values hold.

    Videos go one by one, unpadded: padding is no data. Raises InputError without any video.
    """
    feeds = (
        {"features": features[None], "lengths": np.array([len(features)])} for features in videos
    )
    histograms = {name: Histogram() for name in values}
    for activations in observe(model, values, feeds):
        for name, activation in activations.items():
            histograms[name].add(activation)
    return histograms


def observe(
    model: onnx.ModelProto, values: Sequence[str], feeds: Iterable[Mapping[str, npt.NDArray[Any]]]
) -> Iterator[dict[str, Features]]:
    """Run a graph and yield what the named values hold, run by run.

    Args:
        model: The fp32 graph.
        values: Names of float32 values.
        feeds: The inputs of each run, by name.

    Raises:
        InputError: There are no feeds.
    """
    graph = onnx.ModelProto()
    graph.CopyFrom(model)
    del graph.graph.output[:]
    for name in values:
        graph.graph.output.append(
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        )
    session = open_graph(graph)
    empty = True
    for feed in feeds:
        empty = False
        yield dict(zip(values, session.run(list(values), dict(feed)), strict=True))
    if empty:
        raise InputError("the calibration data has no videos")
