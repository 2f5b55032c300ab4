"""The accuracy that live operation costs, and its delay.

    python benchmarks/studies/live_accuracy.py MODEL.onnx DATA --plot live-accuracy.png

Every video is a stream that begins cold, fed snippet by snippet. The mAP is that of all segments,
as offline; the delay is that of an annotated instance's first segment of the right class at tIoU
0.5, from the end of the instance. Settings are to be chosen on the training videos (--subset).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import click
import numpy as np
import numpy.typing as npt

from co2net.cli.dataset_options import dataset_options as dataset_decorator
from co2net.data.dataset import Dataset, DatasetOptions, open_dataset
from co2net.data.video import Video
from co2net.evaluation.mean_ap import EvaluationOptions, temporal_iou
from co2net.evaluation.protocol import evaluate
from co2net_benchmarks.report.charts import COLORS, MARKERS
from co2net_benchmarks.tables import Table
from co2net_benchmarks.timing import percentile
from co2net_runtime.artefact.contract import Contract
from co2net_runtime.backends import Arrays, Backend, EngineOptions
from co2net_runtime.backends.selection import open_backend
from co2net_runtime.cli import console
from co2net_runtime.detections import Detections
from co2net_runtime.errors import InputError, MissingDependencyError
from co2net_runtime.files.atomic import atomic_path, write_text
from co2net_runtime.live.pool import Event, LiveOptions, LivePool
from co2net_runtime.localizer import Localizer
from co2net_runtime.network.chunks import sibling

# streams that are fed together; one alone would read all weights for each of its snippets
TOGETHER = 64
MATCHED_TIOU = 0.5
DEFAULT = "defaults"
# seconds after which a component is cut; None never
CUTS = (10.0, 20.0, 30.0, 60.0, 120.0, None)


@dataclass(frozen=True)
class LiveAccuracy:
    """The accuracy of one way of operation.

    map: averages of the mAP over the tIoU thresholds of `EvaluationOptions`, by range, 0 to 1.
    found: share of the annotated instances that have a segment of their class at tIoU 0.5. mean_s,
    p90_s: delays of these from the end of the instance; NaN offline, which knows all at the end.
    """

    name: str
    map: Mapping[str, float]
    found: float
    mean_s: float
    p90_s: float


def strategies(*, prior: bool) -> dict[str, LiveOptions]:
    """Return the ways to compare: the defaults, and options that differ in one respect.

    prior: whether the model holds the training videos' mean.
    """
    default = LiveOptions()
    compared = {cut_name(longest_s): LiveOptions(longest_s=longest_s) for longest_s in CUTS}
    compared |= {
        "exponential mean of 60 s": LiveOptions(context="exponential", half_life_s=60),
        "exponential mean of 300 s": LiveOptions(context="exponential", half_life_s=300),
        "classes of 60 s": LiveOptions(class_window_s=60),
    }
    if prior:
        compared["prior"] = LiveOptions(context="prior")
        compared["prior counts 60 s"] = LiveOptions(prior_s=60)
    others = {name: options for name, options in compared.items() if options != default}
    return {DEFAULT: default, **others}


def cut_name(longest_s: float | None) -> str:
    """Return the name of a row that differs in `LiveOptions.longest_s`."""
    if longest_s == LiveOptions.longest_s:
        return DEFAULT
    return "never cut" if longest_s is None else f"cut at {longest_s:g} s"


class LastAnswer:
    """An engine that keeps its last answer: pools with one context, fed in step, ask the same."""

    def __init__(self, backend: Backend[Any]) -> None:
        self.contract, self._backend = backend.contract, backend
        self._feeds: Arrays = {}
        self._outputs: Arrays = {}

    def infer(self, feeds: Arrays) -> Arrays:
        """Return the engine's outputs."""
        known = self._feeds.keys() == feeds.keys() and all(
            np.array_equal(feeds[name], self._feeds[name]) for name in feeds
        )
        if not known:
            self._feeds, self._outputs = feeds, self._backend.infer(feeds)
        return self._outputs


def by_context(strategies: Mapping[str, LiveOptions]) -> list[dict[str, LiveOptions]]:
    """Return the strategies in groups whose networks see the same context."""
    groups: dict[tuple[object, ...], dict[str, LiveOptions]] = {}
    for name, options in strategies.items():
        context = (options.context, options.half_life_s, options.prior_s)
        groups.setdefault(context, {})[name] = options
    return list(groups.values())


def run_live(
    pools: Mapping[str, LivePool], dataset: Dataset, videos: Sequence[Video]
) -> dict[str, list[Event]]:
    """Feed each video's features to a stream of its name, snippet by snippet, to its end.

    The pools are fed in step. Returns the events of each.
    """
    waiting = sorted(videos, key=lambda video: -dataset.length(video.name))
    running: dict[str, npt.NDArray[np.float32]] = {}
    at: dict[str, int] = {}
    events: dict[str, list[Event]] = {name: [] for name in pools}
    with console.progress(videos, "live") as bar:
        while waiting or running:
            while waiting and len(running) < TOGETHER:
                name = waiting.pop(0).name
                running[name] = dataset.load_features(name)
                at[name] = 0
            for key, pool in pools.items():
                events[key] += pool.push({name: rows[at[name]] for name, rows in running.items()})
            for name in list(running):
                at[name] += 1
                if at[name] == len(running[name]):
                    for key, pool in pools.items():
                        events[key] += pool.flush(name)
                    del running[name]
                    bar.update(1)
    return events


def judge(
    name: str, events: Sequence[Event], dataset: Dataset, videos: Sequence[Video]
) -> LiveAccuracy:
    """Return mAP and delays of events whose streams are named after their videos."""
    by_video: dict[str, list[Event]] = {video.name: [] for video in videos}
    for event in events:
        by_video[event.stream].append(event)
    results = {video: _detections(own, dataset.classes) for video, own in by_video.items()}
    return _judge(name, results, by_video, dataset, videos)


def judge_offline(localizer: Localizer, dataset: Dataset, videos: Sequence[Video]) -> LiveAccuracy:
    """Return the accuracy of the whole-video model on the same videos."""
    with console.progress(videos, "offline") as bar:
        results = {video.name: localizer(dataset.load_features(video.name)) for video in bar}
    return _judge("offline (whole videos)", results, None, dataset, videos)


def accuracy_table(rows: Sequence[LiveAccuracy], videos: Sequence[Video], subset: str) -> Table:
    """Return the comparison as a table, mAP in percent; subset, videos: for its title."""
    instances = sum(len(video.segments) for video in videos)
    default = LiveOptions()
    ranges = [key for key in rows[0].map if key != "all"]
    return Table(
        f"Live against offline: {len(videos)} videos of {subset!r}, {instances} instances",
        ("operation", *(f"mAP {key}" for key in ranges), "found", "mean delay s", "p90 delay s"),
        tuple(
            (
                row.name,
                *(f"{100 * row.map[key]:.2f}" for key in ranges),
                f"{100 * row.found:.1f} %",
                *("-" if np.isnan(value) else f"{value:.2f}" for value in (row.mean_s, row.p90_s)),
            )
            for row in rows
        ),
        (
            f"{DEFAULT}: {default.context} mean, classes of {default.class_window_s:g} s, cut at "
            f"{default.longest_s:g} s; every other row differs in one of these.",
            f"Every video is a stream that begins cold. found: annotated instances with a segment "
            f"of their class at tIoU {MATCHED_TIOU:g}. Delay: from the end of such an instance to "
            "its first such segment; negative where the segment was final before the end.",
        ),
    )


def draw(rows: Sequence[LiveAccuracy], path: Path) -> None:
    """Write a picture of mAP against mean delay. Raises MissingDependencyError."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("matplotlib", "plot", "drawing the comparison") from error
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    cutting, context = figure.subplots(1, 2)
    cutting.set_title("when a component is cut")
    context.set_title("context and class window, with the default cut")
    at = {row.name: (row.mean_s, 100 * row.map["0.1:0.7"]) for row in rows}
    offline = [name for name, (delay, _) in at.items() if np.isnan(delay)]
    curve = {cut: at[cut_name(cut)] for cut in CUTS}
    cutting.plot(*zip(*curve.values(), strict=True), "o-", color=COLORS[0])
    for cut, point in curve.items():
        name = "never" if cut is None else f"{cut:g} s"
        cutting.annotate(name, point, xytext=(5, 6), textcoords="offset points")
    others = [name for name in at if name not in {*offline, *map(cut_name, CUTS)}]
    for index, name in enumerate([DEFAULT, *others]):
        context.plot(*at[name], MARKERS[index], color=COLORS[index], label=name)
    cutting.set_xscale("log")
    cutting.xaxis.set_major_formatter("{x:g}")
    cutting.xaxis.set_minor_formatter("")
    # at least a second wide: smaller differences are none
    seconds = [at[name][0] for name in (DEFAULT, *others)]
    context.set_xlim(min(seconds) - 0.5, max(seconds) + 0.5)
    for axes in (cutting, context):
        axes.set(xlabel="mean delay / s", ylabel="mAP 0.1:0.7 / %")
        axes.grid(alpha=0.3)
        axes.margins(0.18)
        for name in offline:
            axes.axhline(at[name][1], color="0.4", linestyle="--", label=name)
    # the left panel's dashed line is the right one's
    context.legend(fontsize="small", loc="center right")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=path.suffix.removeprefix(".") or "png", dpi=120)


def _detections(events: Sequence[Event], classes: tuple[str, ...]) -> Detections:
    index = {name: label for label, name in enumerate(classes)}
    return Detections(
        np.array([(e.start_s, e.end_s) for e in events], np.float64).reshape(-1, 2),
        np.array([e.score for e in events], np.float64),
        np.array([index[e.label] for e in events], np.int64),
        classes,
    )


def _judge(
    name: str,
    results: Mapping[str, Detections],
    by_video: Mapping[str, Sequence[Event]] | None,
    dataset: Dataset,
    videos: Sequence[Video],
) -> LiveAccuracy:
    options = EvaluationOptions.of("co2net")
    evaluation = evaluate(results, videos, dataset.classes, options, dataset.timing)
    count, found, delays = 0, 0, []
    for video in videos:
        own = results[video.name]
        labels = np.array([own.classes[label] for label in own.labels])
        for segment, label in zip(video.segments, video.segment_labels, strict=True):
            count += 1
            right = np.flatnonzero(labels == dataset.classes[label])
            overlap = temporal_iou(
                own.segments[right], np.broadcast_to(segment, (len(right), 2)).astype(np.float64)
            )
            matching = right[overlap >= MATCHED_TIOU]
            found += bool(len(matching))
            if len(matching) and by_video is not None:
                events = by_video[video.name]
                delays.append(min(events[i].at_s for i in matching) - float(segment[1]))
    return LiveAccuracy(
        name,
        evaluation.result.averages,
        found / max(1, count),
        float(np.mean(delays)) if delays else float("nan"),
        percentile(delays, 90) if delays else float("nan"),
    )


def _judge_live(
    model: Path, dataset: Dataset, videos: Sequence[Video], threads: int | None
) -> list[LiveAccuracy]:
    live = sibling(model, "live")
    engine = EngineOptions(backend="onnxruntime", device="cpu", threads=threads)
    with open_backend(live, engine) as backend:
        prior = bool(backend.contract.context_prior)
        if not prior:
            console.note(f"{live} holds no prior: that context is left out")
        compared = strategies(prior=prior)
        events: dict[str, list[Event]] = {}
        for group in by_context(compared):
            console.note(", ".join(group))
            # all that a pool asks of its engine
            shared = cast("Backend[Contract]", LastAnswer(backend))
            pools = {name: LivePool(shared, own, None, None) for name, own in group.items()}
            events |= run_live(pools, dataset, videos)
    return [judge(name, events[name], dataset, videos) for name in compared]


@click.command("live-accuracy", cls=console.Command)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
@dataset_decorator
@click.option("--subset", metavar="NAME", help="Subset of DATA.  [default: that to test on]")
@click.option(
    "--videos", "limit", type=click.IntRange(min=1), metavar="N", help="The first N only."
)
@click.option("--threads", type=click.IntRange(min=1), help="Threads of the engine.")
@click.option("--plot", type=click.Path(path_type=Path), help="Picture of mAP against delay.")
@click.option("--out", type=click.Path(path_type=Path), help="Also write the table as Markdown.")
def main(
    model: Path,
    data: Path,
    dataset_options: DatasetOptions,
    subset: str | None,
    limit: int | None,
    threads: int | None,
    plot: Path | None,
    out: Path | None,
) -> None:
    """Compare live operation with whole videos on DATA.

    MODEL.live.onnx must lie beside MODEL (co2net-export --live; with --data DATA, the prior
    is compared, too).

    Example: python benchmarks/studies/live_accuracy.py model.onnx data/ --out live.md
    """
    dataset = open_dataset(data, dataset_options)
    subset = subset or dataset.test_subset
    videos = dataset.videos(subset)[:limit]
    if not any(len(video.segments) for video in videos):
        raise InputError(f"{data}: no segment is annotated in these videos")
    with Localizer.load(model, EngineOptions(device="cpu", threads=threads)) as localizer:
        if not set(localizer.contract.classes) <= set(dataset.classes):
            raise InputError(f"{model}: made for other classes than those of {data}")
        rows = [judge_offline(localizer, dataset, videos)]
    rows += _judge_live(model, dataset, videos, threads)
    table = accuracy_table(rows, videos, subset)
    click.echo(table.to_markdown())
    if out is not None:
        write_text(out, table.to_markdown() + "\n")
    if plot is not None:
        draw(rows, plot)


if __name__ == "__main__":
    main()
