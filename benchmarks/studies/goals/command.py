"""Point 5: the whole of co2net-infer over the test videos."""

from co2net_benchmarks.runners.pool import Member
from studies.goals.judging import Goal, faster, within
from studies.goals.setup import Setup, column, take_rounds

OVERHEAD = 1.15
TARGETS = {"optimised": 1.7, "int8": 2.7}
# each takes two minutes
ROUNDS = 2


def command_goals(setup: Setup) -> list[Goal]:
    """Return point 5."""
    paths = [str(path) for path in setup.videos]
    pytorch = setup.target("PyTorch", "torch", published_decoding=True)
    rounds = min(ROUNDS, setup.rounds)

    def act(member: Member) -> dict[str, float]:
        setup.tell(f"  {len(paths)} videos, {member.name}")
        if member.name == pytorch.name:
            return {"wall": member.child.ask("run_all", paths=paths)["wall_s"]}
        out = setup.folder / "predictions.json"
        wall_s = setup.infer(member.prepared.path, *paths, "--out", str(out)).wall_s
        return {
            "wall": wall_s,
            "network": member.child.ask("run_network", paths=paths)["network_s"],
        }

    def warm_up(member: Member) -> dict[str, float]:
        how = "run_all" if member.name == pytorch.name else "run_network"
        member.child.ask(how, paths=paths[:8])
        return {}

    goals = []
    ours = [setup.target(name, "runtime") for name in TARGETS]
    with setup.opened(pytorch, *ours) as fleet:
        take_rounds(fleet, warm_up, 1)
        answers = take_rounds(fleet, act, rounds)
    theirs = column(answers[pytorch.name], "wall")
    for name, least in TARGETS.items():
        wall, network = column(answers[name], "wall"), column(answers[name], "network")
        goals.append(faster(5, f"co2net-infer, {name}, against PyTorch", wall, theirs, least))
        what = f"co2net-infer, {name}, against its network alone"
        goals.append(within(5, what, wall, network, OVERHEAD))
    return goals
