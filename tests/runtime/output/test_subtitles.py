import itertools
import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from co2net_runtime.detections import Detections
from co2net_runtime.output.subtitles import to_srt

CLASSES = ("Run", "Jump")


def detections(*rows):
    table = np.array(rows, dtype=float).reshape(-1, 4)
    return Detections(table[:, :2], table[:, 2], table[:, 3].astype(np.int64), CLASSES)


def test_nested_and_overlapping_segments_become_successive_cues():
    found = detections((0, 10, 0.5, 0), (2, 4, 0.9, 0), (3, 3661.5, 0.7, 1))
    assert to_srt(found) == (
        "1\n00:00:00,000 --> 00:00:02,000\nRun 0.50\n\n"
        "2\n00:00:02,000 --> 00:00:03,000\nRun 0.90\n\n"
        "3\n00:00:03,000 --> 00:00:04,000\nRun 0.90\nJump 0.70\n\n"
        "4\n00:00:04,000 --> 00:00:10,000\nJump 0.70\nRun 0.50\n\n"
        "5\n00:00:10,000 --> 01:01:01,500\nJump 0.70\n\n"
    )


def test_gaps_have_no_cue_and_equal_neighbours_are_one():
    found = detections((0, 1, 0.5, 0), (1, 2, 0.5, 0), (5, 6, 0.5, 0))
    assert re.findall(r"(\S+) --> (\S+)", to_srt(found)) == [
        ("00:00:00,000", "00:00:02,000"),
        ("00:00:05,000", "00:00:06,000"),
    ]


def test_no_segments():
    assert to_srt(detections()) == ""


def seconds(stamp):
    hours, minutes, rest = stamp.replace(",", ".").split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(rest)


segments = st.tuples(st.integers(0, 50), st.integers(1, 20), st.floats(0.01, 1), st.integers(0, 1))


@given(st.lists(segments, max_size=12))
def test_each_moment_shows_what_goes_on(rows):
    found = detections(*[(start, start + length, s, label) for start, length, s, label in rows])
    cues = [
        (seconds(start), seconds(end), text.split("\n"))
        for start, end, text in re.findall(
            r"(\S+) --> (\S+)\n(.*?)\n\n", to_srt(found), flags=re.DOTALL
        )
    ]
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(cues))
    for moment in np.arange(0.5, 75):
        inside = found.select((found.segments[:, 0] < moment) & (moment < found.segments[:, 1]))
        expected = {CLASSES[label] for label in inside.labels}
        shown = [line for start, end, text in cues if start < moment < end for line in text]
        assert {line.split()[0] for line in shown} == expected
