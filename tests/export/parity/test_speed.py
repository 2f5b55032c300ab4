"""A speed is told only where the machine lets one tell."""

from co2net_export.parity.speed import Speedup, interval


def test_the_interval_leaves_out_two_turns_on_either_side():
    assert interval([9.4, 2.0, 2.1, 2.2, 2.0, 2.1, 2.2, 2.1, 0.1, 2.1, 0.2, 8.0]) == Speedup(
        2.0, 2.2
    )
    assert str(Speedup(2.0, 2.2)) == "2 to 2.2 times its speed at 320 snippets here"


def test_a_busy_machine_tells_no_speed():
    found = Speedup(1.0, 9.4)
    assert not found.told
    assert str(found) == "speed not told: this machine is busy"
