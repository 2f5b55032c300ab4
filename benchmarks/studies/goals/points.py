"""The seven points, in order: what measures them, and what their figures are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from studies.goals.command import command_goals
from studies.goals.decoder import decoder_goals
from studies.goals.judging import Goal
from studies.goals.network import fp32_goals, int8_goals
from studies.goals.resources import resource_goals
from studies.goals.setup import Setup
from studies.goals.short_videos import short_video_goals
from studies.goals.start import start_goals


@dataclass(frozen=True)
class Point:
    """title: in a few words. note: what is on the two sides of its rows."""

    title: str
    measure: Callable[[Setup], list[Goal]]
    note: str


POINTS = MappingProxyType(
    {
        1: Point(
            "network, fp32",
            fp32_goals,
            "the network from host memory to host memory, one video at a time, against PLAIN in "
            "ONNX Runtime with its defaults. Lengths ascend, so short videos are timed before the "
            "runtime has opened the fast form, and once more after long ones. The error is the "
            "largest difference from PyTorch over max(1, max |cas|), on planted videos.",
        ),
        2: Point(
            "network, int8",
            int8_goals,
            "as 1; decisions and mAP (percent, average over tIoU 0.1:0.7) against PyTorch on "
            "DATA's test videos.",
        ),
        3: Point(
            "short videos",
            short_video_goals,
            "the network over all of them as the runtime groups them, against one by one.",
        ),
        4: Point(
            "decoder",
            decoder_goals,
            "synthetic curves, against the published post-processing, transcribed plainly. Memory "
            "is what it allocates at its peak.",
        ),
        5: Point(
            "whole command",
            command_goals,
            "the process of co2net-infer over DATA's test videos, start and result file included, "
            "against PyTorch with the transcribed post-processing (its start and result file not "
            "counted), and against its own network on features that are in memory already.",
        ),
        6: Point(
            "start",
            start_goals,
            "whole processes, one video of T = 250; first results against a process that imports "
            "numpy and ONNX Runtime, loads the file and runs it once (OPTIMISED: against PLAIN "
            "there). Imports: in seconds of `from co2net_runtime import Localizer` after numpy, "
            "which is the other side.",
        ),
        7: Point(
            "threads and memory",
            resource_goals,
            "largest resident memory of co2net-infer's process with one video, against the "
            "process of 6 with PLAIN.",
        ),
    }
)


def measure_points(setup: Setup, numbers: Sequence[int]) -> list[Goal]:
    """Measure some of the points, in their order.

    Raises InputError if a file does not fit, TargetError if an engine fails.
    """
    goals = []
    for number in sorted(set(numbers)):
        setup.tell(f"{number}: {POINTS[number].title}")
        goals += POINTS[number].measure(setup)
    return goals
