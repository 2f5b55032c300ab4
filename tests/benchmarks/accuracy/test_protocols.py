import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from co2net.evaluation.mean_ap import ACTIVITYNET_TIOUS, THUMOS14_TIOUS, EvaluationOptions
from co2net_benchmarks.accuracy.protocols import parse_tious, used_by


@pytest.mark.parametrize(
    ("text", "tious"),
    [
        (".3:.1:.7", (0.3, 0.4, 0.5, 0.6, 0.7)),
        ("0.1:0.1:0.9", THUMOS14_TIOUS),
        (".5:.05:.95", ACTIVITYNET_TIOUS),
        ("0.75,0.5,0.95", (0.5, 0.75, 0.95)),
        (".5,.5:.25:1", (0.5, 0.75, 1.0)),
        ("0.3:0.4:0.6", (0.3,)),
    ],
)
def test_lists_and_ranges(text, tious):
    """Decimals: a tIoU of exactly 3/10 reaches 0.3."""
    assert parse_tious(text) == tious


@pytest.mark.parametrize(
    "text",
    ["", "half", "0.5:0.1", ".5:0:.9", ".9:.1:.5", "0,0.5", "1.5", ".1:.1:9", ".1:1e-9:1", "nan"],
)
def test_others_are_refused(text):
    with pytest.raises(ValueError, match=r"expected a number|finite|must lie in"):
        parse_tious(text)


@given(st.integers(1, 40), st.integers(1, 10), st.integers(0, 10))
def test_a_range_reaches_its_stop(start, step, count):
    assume(start + step * count <= 100)
    text = f"{start / 100}:{step / 100}:{(start + step * count) / 100}"
    tious = parse_tious(text)
    assert len(tious) == count + 1
    np.testing.assert_allclose(np.diff(tious), step / 100)


@pytest.mark.parametrize(
    ("protocol", "tious", "words"),
    [
        ("co2net", THUMOS14_TIOUS, "CO2-Net and programs"),
        ("activitynet", ".3:.1:.7", "OpenTAD on THUMOS14 (0.3:0.1:0.7)"),
        ("activitynet", ACTIVITYNET_TIOUS, "ActivityNet's own evaluation"),
        ("activitynet", "0.33", "no published results"),
    ],
)
def test_each_setting_says_who_uses_it(protocol, tious, words):
    wanted = parse_tious(tious) if isinstance(tious, str) else tious
    assert words in used_by(EvaluationOptions(protocol, wanted))
