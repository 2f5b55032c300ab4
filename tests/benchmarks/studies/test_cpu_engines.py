"""The study of CPU engines: its sets of videos, its table, and ours beside the best peer."""

from studies import cpu_engines
from studies.cpu_engines import measure, tables, videos_of


def test_sets_of_videos_are_read_from_their_names():
    assert [len(video) for video in videos_of("5")] == [5]
    lengths = [len(video) for video in videos_of("6x2-9")]
    assert len(lengths) == 6
    assert set(lengths) <= set(range(2, 10))


def test_short_videos_run_several_times_in_a_turn(monkeypatch):
    monkeypatch.setattr(cpu_engines, "_PAUSE_S", 0.0)
    seen = []
    found = measure({"fp32: ours": seen.append}, videos_of("50"), turns=2)
    assert len(seen) == 1 + 2 * 4
    assert found["fp32: ours"][0] > 0


def test_ours_is_compared_with_the_best_peer_of_its_class():
    times = {
        "fp32: A": (4.0, 1.0),
        "fp32: B": (3.0, 1.0),
        "fp32: ours": (2.0, 1.0),
        "int8: ours": (1.0, 1.0),
    }
    text = tables({"50": times, "8": {"fp32: A": (1.0, 1.0)}})
    assert text.index("T = 8") < text.index("T = 50")
    assert "| fp32: ours |  | 1.50 |" in text
    assert "| int8: ours |  |  |" in text
