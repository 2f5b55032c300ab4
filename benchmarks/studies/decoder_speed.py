"""How fast is the decoder? `python benchmarks/studies/decoder_speed.py` prints it as Markdown.

The runtime's decoder and the published post-processing, transcribed plainly, take turns in one
process on synthetic curves, so that it runs anywhere and the ratio survives a noisy machine. Then
the decoder alone on the worst curves there are, which would keep the transcription busy for hours.
"""

import gc
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import click
import numpy as np
import numpy.typing as npt

from co2net_benchmarks.runners import published_decoding
from co2net_benchmarks.runners.published_decoding import Proposal
from co2net_benchmarks.tables import Table, megabytes, milliseconds
from co2net_benchmarks.timing import Interval, median_interval, paired_ratio
from co2net_runtime.cli import console
from co2net_runtime.decoding.proposals import SnippetSegments, decode
from co2net_runtime.options import DecodeOptions

CLASSES = 20
EVERY_CLASS = DecodeOptions(class_threshold=0.0)


@dataclass(frozen=True)
class Curves:
    """The network's outputs for one synthetic video, and how to decode them.

    cas: (T, C+1) float32. attention: (T,) float32. target_s, target_bytes: what the decoder must
    stay under. compared: whether the transcription is timed too.
    """

    name: str
    cas: npt.NDArray[np.float32]
    attention: npt.NDArray[np.float32]
    options: DecodeOptions
    target_s: float
    target_bytes: int | None
    compared: bool


@dataclass(frozen=True)
class DecoderSpeed:
    """The cost of decoding one video.

    seconds: of the runtime's decoder. loops_s, numpy_s: of the transcription, its soft-NMS as
    Python loops or as numpy operations per taken proposal; *_ratio: how many times longer they took
    than the decoder, turn by turn; None where the transcription was not run. peak_bytes: memory the
    decoder allocates at its peak, from a run of its own.
    """

    name: str
    snippets: int
    proposals: int
    seconds: Interval
    loops_s: Interval | None
    loops_ratio: Interval | None
    numpy_s: Interval | None
    numpy_ratio: Interval | None
    peak_bytes: int
    target_s: float
    target_bytes: int | None


def smooth_curves(
    snippets: int, classes: int = CLASSES, seed: int = 0
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return (cas, attention) as of a real video: one class, about 0.3 proposals per snippet."""
    rng = np.random.default_rng(seed)
    kernel = np.exp(-0.5 * (np.arange(-12, 13) / 3) ** 2)
    noise = rng.standard_normal((classes + 2, snippets + len(kernel) - 1))
    smooth = np.array([np.convolve(row, kernel, mode="valid") for row in noise])
    smooth /= np.linalg.norm(kernel)
    attention = 1 / (1 + np.exp(-2 * smooth[-1]))
    cas = 2 * smooth[:-1].T
    cas[:, 0] += 8 * attention
    return cas.astype(np.float32), attention.astype(np.float32)


def speed_cases() -> list[Curves]:
    """Return the videos to decode: two ordinary ones and the worst of three kinds."""
    rng = np.random.default_rng(0)
    long, budget = 20_000, 500_000_000
    noise = rng.standard_normal((long, CLASSES + 1), dtype=np.float32)
    uniform = rng.random(long, dtype=np.float32)
    spanning = (0.1001 + 0.8999 * uniform).astype(np.float32)
    hundred = smooth_curves(2500, classes=100)
    default = DecodeOptions()
    return [
        Curves("one class", *smooth_curves(750), default, 1.5e-3, None, True),
        Curves("one class", *smooth_curves(2500), default, 6e-3, None, True),
        Curves("100 classes over the gate", *hundred, EVERY_CLASS, 2.0, budget, False),
        Curves("uniform noise", noise, uniform, default, 2.0, budget, False),
        Curves("one component, never below 0.1", noise, spanning, default, 2.0, budget, False),
    ]


def measure(rounds: int = 20, cases: list[Curves] | None = None) -> list[DecoderSpeed]:
    """Time the decoder on each case, `rounds` times, in turns with the transcription.

    cases: `speed_cases()` if None. Raises ValueError if decoder and transcription disagree.
    """
    return [_measure(case, rounds) for case in (speed_cases() if cases is None else cases)]


def speed_table(results: list[DecoderSpeed]) -> Table:
    """Return the figures as a table: medians, ratios of the turns' medians."""
    rows = tuple(
        (
            result.name,
            f"{result.snippets:,}",
            f"{result.proposals:,}",
            milliseconds(result.seconds.median),
            milliseconds(result.target_s),
            *_compared(result.loops_s, result.loops_ratio),
            *_compared(result.numpy_s, result.numpy_ratio),
            megabytes(result.peak_bytes),
            megabytes(result.target_bytes),
        )
        for result in results
    )
    return Table(
        "Decoder: (cas, attention) to segments, one video",
        (
            "case",
            "snippets",
            "proposals",
            "decoder ms",
            "target ms",
            "loops ms",
            "ratio",
            "numpy NMS ms",
            "ratio",
            "peak MB",
            "target MB",
        ),
        rows,
        (
            "Medians of wall time. loops: the published post-processing, transcribed plainly, its "
            "soft-NMS as nested Python loops. numpy NMS: the same, but each taken proposal decays "
            "all others in one numpy expression. ratio: median over the turns of their time to the "
            "decoder's. Where timed together, they gave the same segments.",
        ),
    )


def _measure(case: Curves, rounds: int) -> DecoderSpeed:
    arguments = case.cas, case.attention, case.options
    contenders: dict[str, Callable[[], SnippetSegments]] = {"decoder": partial(decode, *arguments)}
    if case.compared:
        published = partial(published_decoding.decode, *arguments)
        contenders["loops"] = partial(published, soft_nms=published_decoding.soft_nms_in_loops)
        contenders["numpy"] = partial(published, soft_nms=soft_nms_in_numpy)
    found = {name: run() for name, run in contenders.items()}  # also the warm-up
    for name, answer in found.items():
        _check_equal(found["decoder"], answer, name)

    turns: dict[str, list[list[float]]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            begin = time.perf_counter()
            run()
            turns[name].append([time.perf_counter() - begin])

    seconds = {name: median_interval([turn[0] for turn in own]) for name, own in turns.items()}
    ratios = {name: paired_ratio(own, turns["decoder"]) for name, own in turns.items()}
    return DecoderSpeed(
        name=case.name,
        snippets=len(case.cas),
        proposals=len(found["decoder"]),
        seconds=seconds["decoder"],
        loops_s=seconds.get("loops"),
        loops_ratio=ratios.get("loops"),
        numpy_s=seconds.get("numpy"),
        numpy_ratio=ratios.get("numpy"),
        peak_bytes=_peak_bytes(contenders["decoder"]),
        target_s=case.target_s,
        target_bytes=case.target_bytes,
    )


def soft_nms_in_numpy(proposals: list[Proposal], sigma: float) -> list[Proposal]:
    """Soft-NMS (method, section 4, step 5) as one Python loop over arrays of all that is left."""
    start, end = np.array([proposal[:2] for proposal in proposals]).T
    score = np.array([proposal[2] for proposal in proposals])
    taken = []
    while len(score):
        best = int(score.argmax())
        for array in (start, end, score):
            array[[0, best]] = array[[best, 0]]
        taken.append((int(start[0]), int(end[0]), float(score[0])))
        inter = np.maximum(0, np.minimum(end[0], end[1:]) - np.maximum(start[0], start[1:]) + 1)
        union = (end[0] - start[0] + 1) + (end[1:] - start[1:] + 1) - inter
        score = score[1:] * np.exp(-((inter / union) ** 2) / sigma)
        start, end = start[1:], end[1:]
    return taken


def _check_equal(ours: SnippetSegments, theirs: SnippetSegments, name: str) -> None:
    same = all(
        np.array_equal(getattr(ours, field), getattr(theirs, field))
        for field in ("start", "end", "label")
    )
    if not (same and np.allclose(ours.score, theirs.score, rtol=0, atol=1e-9)):
        raise ValueError(f"the decoder and the transcription ({name}) give different segments")


def _peak_bytes(run: Callable[[], object]) -> int:
    gc.collect()
    tracemalloc.start()
    try:
        run()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return peak


def _compared(seconds: Interval | None, ratio: Interval | None) -> tuple[str, str]:
    if seconds is None or ratio is None:
        return "-", "-"
    return milliseconds(seconds.median), f"{ratio.median:.1f}"


@click.command("decoder-speed", cls=console.Command)
@click.option("--rounds", default=20, show_default=True, type=click.IntRange(min=1))
def main(rounds: int) -> None:
    """Time the decoder against a plain transcription of the published post-processing.

    Example: python benchmarks/studies/decoder_speed.py --rounds 50
    """
    click.echo(speed_table(measure(rounds)).to_markdown())


if __name__ == "__main__":
    main()
