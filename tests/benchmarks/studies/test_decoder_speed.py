from dataclasses import replace

import numpy as np
import pytest

from co2net_benchmarks.runners import published_decoding
from co2net_runtime.decoding.proposals import class_probabilities, decode
from co2net_runtime.options import DecodeOptions
from studies import decoder_speed
from studies.decoder_speed import Curves, measure, smooth_curves, speed_table

SMALL = Curves("small", *smooth_curves(60), DecodeOptions(), 1.5e-3, 500_000_000, True)


@pytest.mark.parametrize("snippets", [750, 2500])
def test_smooth_curves_are_as_crowded_as_real_ones(snippets):
    cas, attention = smooth_curves(snippets)
    assert (class_probabilities(cas, attention) >= 0.2).sum() == 1
    assert 0.25 < len(decode(cas, attention)) / snippets < 0.4


def test_the_worst_curves_are_what_their_names_say():
    hundred, noise, spanning = decoder_speed.speed_cases()[2:]
    assert len(np.unique(decode(hundred.cas, hundred.attention, hundred.options).label)) == 100
    assert len(noise.attention) == len(spanning.attention) == 20_000
    assert spanning.attention.min() > 0.1


def test_decoder_and_transcription_are_timed_in_turns(monkeypatch):
    calls = []

    def spied(name, function):
        def run(*arguments, **options):
            calls.append(name)
            return function(*arguments, **options)

        return run

    monkeypatch.setattr(decoder_speed, "decode", spied("decoder", decode))
    monkeypatch.setattr(
        published_decoding, "decode", spied("transcription", published_decoding.decode)
    )
    (result,) = measure(rounds=3, cases=[SMALL])
    one_turn = ["decoder", "transcription", "transcription"]
    assert calls == one_turn * 4 + ["decoder"]  # warm-up, three rounds, memory
    assert result.proposals == len(decode(SMALL.cas, SMALL.attention))
    assert result.loops_s is not None
    assert result.numpy_ratio is not None
    assert result.seconds.median > 0
    assert 1_000 < result.peak_bytes < 10_000_000


def test_a_decoder_that_disagrees_is_not_timed(monkeypatch):
    def wrong(*arguments):
        found = decode(*arguments)
        return replace(found, score=found.score + 1e-6)

    monkeypatch.setattr(decoder_speed, "decode", wrong)
    with pytest.raises(ValueError, match=r"transcription \(loops\) give different segments"):
        measure(rounds=1, cases=[SMALL])


def test_the_table_shows_both_sides_and_leaves_out_what_was_not_run():
    alone = replace(SMALL, name="alone", compared=False, target_bytes=None)
    table = speed_table(measure(rounds=1, cases=[SMALL, alone]))
    both, one = table.rows
    assert "-" not in both
    assert one.count("-") == 5
    assert table.to_markdown().count("\n|") == 4
