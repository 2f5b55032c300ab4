"""The study of video: its pictures move, its clips decode, and costs are per snippet."""

import numpy as np
import pytest

from co2net_runtime.video.flow import FlowEstimator, gray
from studies import video_speed


def test_pictures_move_by_two_pixels():
    pytest.importorskip("cv2")
    first, second = (gray(video_speed.picture(index, 256, 340)) for index in (0, 1))
    flow = FlowEstimator("dis-medium")(first, second)
    assert np.median(flow[..., 0]) == pytest.approx(2, abs=0.4)


def test_decoding_is_timed_per_snippet(tmp_path, monkeypatch):
    pytest.importorskip("av")
    video_speed.write_clip(tmp_path / "a.mp4", 64, 80, 32)
    spent = iter([8.0, 12.0])

    def timed(work, turns):
        work()
        return next(spent)

    monkeypatch.setattr(video_speed, "cpu_seconds", timed)
    decode, prepare = video_speed.decoding_costs(tmp_path / "a.mp4", 2, 1)
    assert (decode.seconds, prepare.seconds) == (4.0, 2.0)


def test_the_sum_holds_every_stage_of_both_streams():
    cost = video_speed.Cost
    table = video_speed.sums({"a": 0.1}, [cost("tvl1", 9), cost("dis-fast", 0.02)], [cost("n", 1)])
    assert table.rows == (("a, n", "2.0400", "0.3"),)
