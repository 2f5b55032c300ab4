"""Winograd's form of a k=3 convolution, in exact arithmetic as in float."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from co2net_export.cpu.winograd import F43, toom_cook

POINTS = (0, 1, -1, 2, -2, Fraction(1, 2), Fraction(-1, 2), 3, -3)


@settings(deadline=None, max_examples=50)
@given(outputs=st.integers(1, 8), seed=st.integers(0, 2**32 - 1))
def test_tile_is_the_convolution(outputs, seed):
    transform = toom_cook(outputs, POINTS[: outputs + 1])
    rng = np.random.default_rng(seed)
    signal, taps = rng.standard_normal(outputs + 2), rng.standard_normal(3)
    found = transform.output @ ((transform.weights @ taps) * (transform.window @ signal))
    np.testing.assert_allclose(found, np.correlate(signal, taps, "valid"), rtol=1e-9, atol=1e-9)


def test_bias_goes_to_the_point_one():
    assert (F43.outputs, F43.products) == (4, 6)
    np.testing.assert_array_equal(F43.output[:, F43.ones], np.ones(4))


@pytest.mark.parametrize("points", [(0, 1, -1, 2), (0, 1, 1, 2, -2), (0, 3, -1, 2, -2)])
def test_unusable_points_are_refused(points):
    with pytest.raises(ValueError, match="takes 5 distinct points, one of them 1"):
        toom_cook(4, points)
