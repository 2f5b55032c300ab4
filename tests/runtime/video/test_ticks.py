import itertools

import hypothesis.strategies as st
import numpy as np
from hypothesis import given

from co2net_runtime.video.decode import Frame
from co2net_runtime.video.ticks import Ticker, ticks


def indices(times, fps=25.0):
    frames = [Frame(time, lambda: None) for time in times]
    return [frames.index(tick) for tick in ticks(frames, fps)]


def test_golden_frames_of_a_28_fps_video():
    """Of FFmpeg's filter fps=25: frame 14 lies between two ticks and rounds up."""
    golden = [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15, 16, 17, 18, 19, 20, 21, 22, 24, 25]
    assert indices(np.arange(280) / 28)[:23] == golden
    assert len(indices(np.arange(280) / 28)) == 250


def test_the_rate_itself_takes_every_frame():
    assert indices(np.arange(50) / 25) == list(range(50))


def test_slow_and_fast_videos():
    assert indices([0.0, 1.0, 2.0]) == [0] * 25 + [1] * 25 + [2] * 25
    fast = indices(np.arange(480) / 240)
    assert len(fast) == 50
    assert np.abs(np.array(fast) / 240 - np.arange(50) / 25).max() < 0.5 / 25 + 1 / 240


def test_a_gap_repeats_the_frame_before_it():
    assert indices([0.0, 0.04, 0.2, 0.24]) == [0, 1, 1, 1, 1, 2, 3]


def test_one_frame_is_one_tick_and_none_is_none():
    assert indices([0.0]) == [0]
    assert indices([]) == []


def test_endless_sources_give_ticks_at_once():
    endless = (Frame(index / 30, lambda: None) for index in itertools.count())
    assert len(list(itertools.islice(ticks(endless, 25.0), 1000))) == 1000


@given(
    st.lists(st.integers(0, 3000), min_size=1, max_size=60),
    st.sampled_from([1.0, 10.0, 25.0, 29.97]),
)
def test_every_tick_shows_the_last_frame_that_rounds_to_it_or_before(steps, fps):
    times = np.concatenate([[0], np.cumsum(steps)]) / 1000
    found = indices_by_value(times, fps)
    rounded = np.floor(fps * times + 0.5 + 1e-6).astype(int)
    for tick, time in enumerate(found):
        assert time == times[np.flatnonzero(rounded <= tick)[-1]]
    gap = np.median(np.diff(times))
    assert len(found) == int(np.floor(fps * (times[-1] + gap) + 0.5 + 1e-6))


def indices_by_value(times, fps):
    return [tick.time for tick in ticks((Frame(float(t), lambda: None) for t in times), fps)]


def test_counts_add_up():
    ticker = Ticker(25.0)
    counts = [ticker.push(time) for time in (0.0, 0.5, 0.52)]
    assert counts == [0, 13, 0]
    assert ticker.finish() == 7
