"""Point 4: the decoder, against the published loops, and on its worst cases."""

from studies import decoder_speed
from studies.goals.judging import Goal, exactly
from studies.goals.setup import Setup


def decoder_goals(setup: Setup) -> list[Goal]:
    """Return point 4; the other side is the transcription with its soft-NMS as Python loops."""
    goals = []
    for case in decoder_speed.speed_cases():
        what = f"decoder, {case.name}, T = {len(case.cas)}"
        setup.tell(f"  {what}")
        (found,) = decoder_speed.measure(setup.rounds, [case])
        theirs = None if found.loops_s is None else found.loops_s.median
        goals.append(
            Goal(
                4,
                what,
                found.seconds,
                "seconds",
                at_most=found.target_s,
                ours=found.seconds.median,
                theirs=theirs,
            )
        )
        if found.target_bytes is not None:
            peak = exactly(found.peak_bytes)
            goals.append(Goal(4, f"{what}, memory", peak, "bytes", at_most=found.target_bytes))
    return goals
