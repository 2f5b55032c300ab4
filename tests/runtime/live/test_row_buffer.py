import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from co2net_runtime.live.row_buffer import RowBuffer


@given(st.lists(st.tuples(st.integers(0, 90), st.integers(-5, 200)), max_size=30))
def test_holds_what_was_added_and_not_forgotten(steps):
    table = np.arange(6000, dtype=np.float32).reshape(-1, 2)
    buffer, end, first = RowBuffer(2), 0, 0
    for added, ahead in steps:
        earlier = buffer.rows
        expected = earlier.copy()
        buffer.append(table[end : end + added])
        np.testing.assert_array_equal(earlier, expected)
        end += added
        buffer.forget(first + ahead)
        first = min(max(first, first + ahead), end)
        assert buffer.first == first
        np.testing.assert_array_equal(buffer.rows, table[first:end])


def test_a_long_history_is_hardly_ever_copied_and_a_short_one_stays_short():
    row = np.ones((1, 3), np.float32)
    growing, sliding = RowBuffer(3), RowBuffer(3)
    homes, sizes = set(), set()
    for index in range(20_000):
        growing.append(row)
        homes.add(id(growing.rows.base))
        sliding.append(row)
        sliding.forget(index - 100)
        sizes.add(len(sliding.rows.base))
    assert len(homes) < 20
    assert max(sizes) <= 2 * 102


def test_reset():
    buffer = RowBuffer(2)
    buffer.append(np.zeros((500, 2), np.float32))
    buffer.reset(7, np.ones((300, 2), np.float32))
    assert (buffer.first, buffer.rows.sum()) == (7, 600)
    with pytest.raises(ValueError, match=r"rows \(3, 4\), expected \(n, 2\)"):
        buffer.reset(0, np.ones((3, 4), np.float32))
