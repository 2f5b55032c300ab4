"""Point 3: many short videos, together as the runtime does by default and one by one."""

from co2net_benchmarks.runners.pool import Member
from studies.goals.judging import Goal, faster
from studies.goals.setup import Setup, column, take_rounds

COUNT = 32
SHORTEST, LONGEST = 50, 100


def short_video_goals(setup: Setup) -> list[Goal]:
    """Return point 3; seconds are for all the videos."""
    lengths = [SHORTEST + (LONGEST - SHORTEST) * i // (COUNT - 1) for i in range(COUNT)]
    # shuffled, but the same in every run
    lengths = [lengths[7 * i % COUNT] for i in range(COUNT)]
    folder = setup.folder / "short"
    folder.mkdir()
    paths = [str(path) for path in setup.source.write(folder, lengths)]

    def act(member: Member) -> dict[str, float]:
        return {
            name: member.child.ask("run_network", paths=paths, size=size)["network_s"]
            for name, size in (("one by one", 1), ("together", None))
        }

    goals = []
    with setup.opened(*(setup.target(name, "runtime") for name in setup.artefacts)) as fleet:
        setup.tell(f"  {COUNT} videos of T = {SHORTEST} to {LONGEST}")
        take_rounds(fleet, act, 1)
        for name, answers in take_rounds(fleet, act, setup.rounds).items():
            together, alone = column(answers, "together"), column(answers, "one by one")
            least = 1.3 if name == "optimised" else 1.0
            goals.append(faster(3, f"{name}, {COUNT} short videos", together, alone, least))
    return goals
