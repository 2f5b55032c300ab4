"""The classes of a clip: scores become shares, and a backbone without scores is refused."""

import numpy as np
import pytest

from studies.kinetics_classes import NAMES, softmax


def test_there_are_400_names_in_the_order_of_the_network():
    names = NAMES.read_text(encoding="utf-8").splitlines()
    assert len(set(names)) == len(names) == 400
    assert (names[0], names[399]) == ("abseiling", "zumba")


def test_shares_sum_to_one():
    shares = softmax(np.array([1000.0, 1000.0 + np.log(3)]))
    assert shares == pytest.approx([0.25, 0.75])
