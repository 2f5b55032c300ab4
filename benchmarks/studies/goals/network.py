"""Points 1 and 2: the network alone, optimised fp32 and int8 against the plain export."""

from pathlib import Path

from co2net_benchmarks.parity.results import ArtefactParity
from co2net_benchmarks.parity.run import ParityPlan, run_parity
from co2net_benchmarks.runners.pool import Fleet, Member
from co2net_benchmarks.timing import percentile
from co2net_runtime.errors import InputError
from studies.goals.judging import Goal, exactly, faster
from studies.goals.setup import Setup, take_rounds

LENGTHS = (1, 16, 50, 64, 80, 100, 200, 320, 750, 1500, 4000)
AFTER_LONG_ONES = (1, 50)
FAST_FROM = 750
INT8_TARGETS = {100: 1.5, 320: 2.0, 750: 2.0, 1500: 2.0}
TURN_S = 0.2

Turns = dict[str, list[list[float]]]


def fp32_goals(setup: Setup) -> list[Goal]:
    """Return point 1: never slower at any length, faster at long ones, and as exact."""
    plain, ours = setup.target("plain", "onnxruntime"), setup.target("optimised", "runtime")
    alone = setup.target("optimised", "onnxruntime")
    goals = []
    with setup.opened(plain, ours, alone) as fleet:
        for place, length in enumerate((*LENGTHS, *AFTER_LONG_ONES)):
            name = f"T = {length}" + (", after long ones" if place >= len(LENGTHS) else "")
            setup.tell(f"  fp32, {name}")
            turns = network_turns(fleet, setup.video(length), setup.rounds)
            least = 1.4 if length >= FAST_FROM else 1.0
            for each in (ours, alone):
                what = f"{each.name}, {name}"
                goals.append(faster(1, what, turns[each.name], turns[plain.name], least))
    setup.tell("  fp32, error")
    return [*goals, _error(setup)]


def int8_goals(setup: Setup) -> list[Goal]:
    """Return point 2: faster, and within the gate of what it decides."""
    plain, ours = setup.target("plain", "onnxruntime"), setup.target("int8", "runtime")
    goals = []
    with setup.opened(plain, ours) as fleet:
        for length, least in INT8_TARGETS.items():
            setup.tell(f"  int8, T = {length}")
            turns = network_turns(fleet, setup.video(length), setup.rounds)
            what = f"int8, T = {length}"
            goals.append(faster(2, what, turns[ours.name], turns[plain.name], least))
    setup.tell("  int8, decisions")
    return [*goals, *_decisions(setup)]


def network_turns(fleet: Fleet, path: Path, rounds: int) -> Turns:
    """Time the network on one video, all members in turns; seconds by name, turn and run."""

    def run(count: int, discard: int, rounds: int) -> Turns:
        def act(member: Member) -> dict[str, object]:
            return member.child.ask("run", path=str(path), count=count, discard=discard)

        answers = take_rounds(fleet, act, rounds)
        return {
            name: [answer["samples"]["network"] for answer in own] for name, own in answers.items()
        }

    once = [turns[0][0] for turns in run(1, 3, 1).values()]
    count = max(1, round(TURN_S / percentile(once, 50)))
    return run(count, int(count > 1), rounds)


def _error(setup: Setup) -> Goal:
    plan = ParityPlan(lengths=LENGTHS)
    plain, ours = (_parity(setup, path, plan) for path in (setup.plain, setup.optimised))
    assert ours.overall is not None
    assert plain.overall is not None
    assert ours.gate is not None
    return Goal(
        1,
        f"optimised, error at T = {LENGTHS[0]} to {LENGTHS[-1]}",
        exactly(ours.overall.max_ratio),
        "error",
        at_most=ours.gate.max_abs,
        ours=ours.overall.max_ratio,
        theirs=plain.overall.max_ratio,
        sides="error",
    )


def _decisions(setup: Setup) -> list[Goal]:
    plan = ParityPlan(lengths=(50,), features=str(setup.data), videos=len(setup.videos))
    found = _parity(setup, setup.int8, plan)
    assert found.gate is not None
    assert found.decisions is not None
    changed = exactly(found.decisions.changed)
    what = "int8, segments lost, added or moved"
    goals = [Goal(2, what, changed, "share", at_most=found.gate.segments)]
    if found.accuracy is not None:
        goals.append(
            Goal(
                2,
                "int8, difference of the mAP",
                exactly(abs(found.accuracy.difference)),
                "points",
                at_most=found.gate.map_points,
                ours=found.accuracy.artefact,
                theirs=found.accuracy.reference,
                sides="points",
            )
        )
    return goals


def _parity(setup: Setup, artefact: Path, plan: ParityPlan) -> ArtefactParity:
    (found,) = run_parity(setup.checkpoint, [artefact], plan, setup.options, quiet=True).artefacts
    if found.status == "failed":
        raise InputError(f"{artefact}: {found.reason}")
    return found
