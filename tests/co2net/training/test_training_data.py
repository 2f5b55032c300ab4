import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from co2net.training.training_data import KEPT_PER_CLASS, split_holdout
from co2net_runtime.errors import InputError

label_matrices = st.integers(1, 40).flatmap(
    lambda n: st.integers(1, 5).flatmap(
        lambda c: st.lists(
            st.lists(st.booleans(), min_size=c, max_size=c), min_size=n, max_size=n
        ).map(np.array)
    )
)


@given(label_matrices, st.floats(0.05, 0.9))
def test_every_class_keeps_a_pair_or_what_it_had(labels, fraction):
    try:
        kept, held = split_holdout(labels, fraction)
    except InputError:
        assume(False)
    assert sorted([*kept, *held]) == list(range(len(labels)))
    assert (labels[kept].sum(axis=0) >= np.minimum(labels.sum(axis=0), KEPT_PER_CLASS)).all()


def test_every_class_that_can_holds_out_its_share():
    labels = np.eye(4)[np.repeat(np.arange(4), [30, 10, 3, 2])]
    _, held = split_holdout(labels, 0.1)
    assert labels[held].sum(axis=0).tolist() == [3, 1, 1, 0]


def test_nothing_to_hold_out_is_an_error():
    with pytest.raises(InputError, match="--select last"):
        split_holdout(np.eye(3)[[0, 0, 1, 1, 2]], 0.1)
