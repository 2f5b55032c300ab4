"""An artefact's segments against those of a reference, of the PyTorch model or another file."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from co2net_runtime.decoding.proposals import SnippetSegments, decode
from co2net_runtime.options import DecodeOptions

Array = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

# below this share of the video's best score, segments are noise that nobody acts on
MIN_RELATIVE_SCORE = 0.1
MIN_TIOU = 0.5
MOVED_SNIPPETS = 1


@dataclass(frozen=True)
class Outputs:
    """A network's outputs for one video."""

    cas: Array  # (T, C+1) float32
    attention: Array  # (T,) float32


@dataclass(frozen=True)
class Decisions:
    """How the decisions on some videos differ from the reference's.

    A segment counts if its score is at least MIN_RELATIVE_SCORE of its video's best. Segments of
    one class match one to one at tIoU >= MIN_TIOU, best tIoU first.
    """

    videos: int
    segments: int  # of the reference
    lost: int  # reference segments without a match
    added: int  # segments that match none of the reference
    moved: int  # matched, but an end lies more than MOVED_SNIPPETS away
    # absolute score difference of matched segments, in units of their video's best score
    score_shift_mean: float
    score_shift_max: float
    # share of snippets whose attention lies on the other side of one of the decoder's thresholds
    crossed: float

    @property
    def changed(self) -> float:
        """Segments lost, added or moved, as a share of the reference's segments."""
        return (self.lost + self.added + self.moved) / max(1, self.segments)


def compare_decisions(
    references: Sequence[Outputs], outputs: Sequence[Outputs], options: DecodeOptions
) -> Decisions:
    """Compare the decoded segments and the thresholded attention, video by video."""
    segments = lost = added = moved = snippets = crossed = 0
    shifts = [np.zeros(0)]
    for expected, found in zip(references, outputs, strict=True):
        expected_segments, best = _relevant(decode(expected.cas, expected.attention, options))
        found_segments, _ = _relevant(decode(found.cas, found.attention, options))
        pairs = _match(expected_segments, found_segments)
        segments += len(expected_segments)
        lost += len(expected_segments) - len(pairs)
        added += len(found_segments) - len(pairs)
        first, second = pairs.T
        distance = np.maximum(
            np.abs(expected_segments.start[first] - found_segments.start[second]),
            np.abs(expected_segments.end[first] - found_segments.end[second]),
        )
        moved += int((distance > MOVED_SNIPPETS).sum())
        shift = np.abs(expected_segments.score[first] - found_segments.score[second])
        shifts.append(shift / (abs(best) or 1.0))
        snippets += len(expected.attention)
        crossed += int(_crossed(expected.attention, found.attention, options).sum())
    shift = np.concatenate(shifts)
    return Decisions(
        videos=len(references),
        segments=segments,
        lost=lost,
        added=added,
        moved=moved,
        score_shift_mean=float(shift.mean()) if len(shift) else 0.0,
        score_shift_max=float(shift.max(initial=0.0)),
        crossed=crossed / max(1, snippets),
    )


def _relevant(found: SnippetSegments) -> tuple[SnippetSegments, float]:
    """Return the segments that count, and the best score."""
    best = float(found.score.max(initial=0.0)) if len(found) else 0.0
    keep = found.score >= MIN_RELATIVE_SCORE * best
    kept = SnippetSegments(found.start[keep], found.end[keep], found.score[keep], found.label[keep])
    return kept, best


def _match(expected: SnippetSegments, found: SnippetSegments) -> Integers:
    """Return the matched pairs of indices, (M, 2), each index at most once."""
    inter = np.minimum(expected.end[:, None], found.end) - np.maximum(
        expected.start[:, None], found.start
    )
    lengths = (expected.end - expected.start)[:, None] + (found.end - found.start)
    tiou = np.maximum(inter, 0) / (lengths - np.maximum(inter, 0))
    tiou[expected.label[:, None] != found.label] = 0.0
    rows, columns = np.nonzero(tiou >= MIN_TIOU)
    # equal tIoU: the closest score, so that one segment at several thresholds meets itself
    distance = np.abs(expected.score[rows] - found.score[columns])
    order = np.lexsort((distance, -tiou[rows, columns]))
    free_rows = np.ones(len(expected), dtype=bool)
    free_columns = np.ones(len(found), dtype=bool)
    pairs = []
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if free_rows[row] and free_columns[column]:
            free_rows[row] = free_columns[column] = False
            pairs.append((row, column))
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _crossed(expected: Array, found: Array, options: DecodeOptions) -> npt.NDArray[np.bool_]:
    thresholds = options.thresholds[:, None]
    changed: npt.NDArray[np.bool_] = ((expected > thresholds) != (found > thresholds)).any(axis=0)
    return changed
