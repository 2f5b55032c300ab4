"""Point 6: how soon a fresh process answers."""

from co2net_benchmarks.timing import median_interval, percentile
from studies.goals.fresh import INFER, run_fresh
from studies.goals.judging import Goal, within
from studies.goals.setup import Setup

LENGTH = 250
HELP_S, IMPORT_S, FIRST_RESULT = 0.150, 0.080, 1.3
_IMPORTS = """
import time
start = time.perf_counter()
import numpy
between = time.perf_counter()
from co2net_runtime import Localizer
print(between - start, time.perf_counter() - between)
"""


def start_goals(setup: Setup) -> list[Goal]:
    """Return point 6; the files lie in the system's cache."""
    return [*_imports(setup), *_first_results(setup)]


def _imports(setup: Setup) -> list[Goal]:
    setup.tell("  --help and imports")
    # the first of each finds its files outside the system's cache
    helps = [run_fresh(INFER, "--help").wall_s for _ in range(setup.rounds + 1)][1:]
    lines = [run_fresh(_IMPORTS).stdout for _ in range(setup.rounds + 1)][1:]
    numpy_s, ours_s = zip(*(map(float, line.split()) for line in lines), strict=True)
    ours = median_interval(ours_s)
    return [
        Goal(6, "co2net-infer --help", median_interval(helps), "seconds", at_most=HELP_S),
        Goal(
            6,
            "import of the runtime, beyond numpy's",
            ours,
            "seconds",
            at_most=IMPORT_S,
            ours=ours.median,
            theirs=percentile(numpy_s, 50),
        ),
    ]


def _first_results(setup: Setup) -> list[Goal]:
    video = str(setup.video(LENGTH))
    # what is optimised must start as soon as what is not
    engines = {"plain": setup.plain, "int8": setup.int8}
    against = {"plain": "plain", "optimised": "plain", "int8": "int8"}
    theirs: dict[str, list[list[float]]] = {name: [] for name in engines}
    ours: dict[str, list[list[float]]] = {name: [] for name in against}
    for turn in range(setup.rounds + 1):
        setup.tell(f"  first result, turn {turn} of {setup.rounds}")
        for name, path in engines.items():
            theirs[name].append([setup.engine_alone(path, video).wall_s])
        for name in against:
            ours[name].append([setup.infer(setup.artefacts[name], video).wall_s])
    return [
        within(6, f"first result, {name}", ours[name][1:], theirs[other][1:], FIRST_RESULT)
        for name, other in against.items()
    ]
