"""Point 7: what a second thread gives, and the memory of one process."""

from studies.goals.judging import Goal, faster, within
from studies.goals.network import network_turns
from studies.goals.setup import Setup

LENGTH, SHORT, LONG = 750, 250, 4000
PLAIN, OPTIMISED = 1.3, 2.2


def resource_goals(setup: Setup) -> list[Goal]:
    """Return point 7."""
    return [*_threads(setup), *_memory(setup)]


def _threads(setup: Setup) -> list[Goal]:
    targets = [setup.target("plain", "onnxruntime")]
    targets += [setup.target(name, "runtime") for name in ("optimised", "int8")]
    turns = []
    for threads in (1, 2):
        setup.tell(f"  T = {LENGTH}, {threads} threads")
        with setup.opened(*targets, threads=threads) as fleet:
            turns.append(network_turns(fleet, setup.video(LENGTH), LENGTH, setup.rounds))
    one, two = turns
    return [
        faster(7, f"{name}, T = {LENGTH}, 2 threads against 1", two[name], one[name])
        for name in one
    ]


def _memory(setup: Setup) -> list[Goal]:
    goals = []
    for length, name, at_most in (
        (LONG, "plain", PLAIN),
        (LONG, "optimised", OPTIMISED),
        (SHORT, "optimised", PLAIN),
    ):
        setup.tell(f"  memory, {name}, T = {length}")
        video = str(setup.video(length))
        theirs = setup.engine_alone(setup.plain, video, tell_peak=True).peak_rss_bytes
        ours = setup.infer(setup.artefacts[name], video, tell_peak=True).peak_rss_bytes
        if ours is None or theirs is None:
            setup.tell("  this system does not count it")
            continue
        what = f"peak memory, {name}, T = {length}"
        goals.append(within(7, what, [[ours]], [[theirs]], at_most, "bytes"))
    return goals
