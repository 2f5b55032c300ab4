"""What does live operation cost in accuracy, and how late does it speak?

    python -m co2net_benchmarks.live_accuracy MODEL.onnx DATA --plot live-accuracy.png

Every test video is a stream that begins cold, fed snippet by snippet. The mAP is that of all
segments, as offline; the delay is that of an annotated instance's first segment of the right class
at tIoU 0.5, from the end of the instance.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt

from co2net.dataset_options import dataset_options as dataset_decorator
from co2net.datasets import Dataset, DatasetOptions, open_dataset
from co2net.evaluation import EvaluationOptions, temporal_iou
from co2net.ground_truth import evaluate
from co2net.video import Video
from co2net_benchmarks.tables import Table
from co2net_benchmarks.timing import percentile
from co2net_runtime import console
from co2net_runtime.chunked import sibling
from co2net_runtime.detections import Detections
from co2net_runtime.errors import InputError, MissingDependencyError
from co2net_runtime.files import atomic_path, write_text
from co2net_runtime.live import Event, LiveOptions, LivePool
from co2net_runtime.localizer import Localizer

# streams that are fed together
TOGETHER = 16
MATCHED_TIOU = 0.5


@dataclass(frozen=True)
class LiveAccuracy:
    """What one way of operation is worth.

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
    """Return what is compared; prior: whether the model holds the training videos' mean."""
    compared = {
        "running mean": LiveOptions(context="running"),
        "exponential, 60 s": LiveOptions(context="exponential", half_life_s=60),
        "exponential, 300 s": LiveOptions(context="exponential", half_life_s=300),
        "running, classes of 60 s": LiveOptions(context="running", class_window_s=60),
    }
    for longest_s in (10, 30, 60, 120):
        compared[f"running, cut at {longest_s} s"] = LiveOptions(longest_s=longest_s)
    if prior:
        compared["prior"] = LiveOptions(context="prior")
        compared["running, prior for 60 s"] = LiveOptions(context="running", prior_s=60)
    return compared


def run_live(pool: LivePool, dataset: Dataset, videos: Sequence[Video]) -> list[Event]:
    """Feed each video's features to a stream of its name, snippet by snippet, to its end."""
    waiting = sorted(videos, key=lambda video: -dataset.length(video.name))
    running: dict[str, npt.NDArray[np.float32]] = {}
    events: list[Event] = []
    with console.progress(videos, "live") as bar:
        while waiting or running:
            while waiting and len(running) < TOGETHER:
                name = waiting.pop(0).name
                running[name] = dataset.load_features(name)
            at = {name: pool.received(name) for name in running}
            events += pool.push({name: rows[at[name]] for name, rows in running.items()})
            for name, rows in list(running.items()):
                if at[name] + 1 == len(rows):
                    events += pool.flush(name)
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
    """Return what the whole-video model is worth on the same videos."""
    with console.progress(videos, "offline") as bar:
        results = {video.name: localizer(dataset.load_features(video.name)) for video in bar}
    return _judge("offline (whole videos)", results, None, dataset, videos)


def accuracy_table(rows: Sequence[LiveAccuracy]) -> Table:
    """Return the comparison as a table, mAP in percent."""
    ranges = [key for key in rows[0].map if key != "all"]
    return Table(
        "Live against offline: accuracy and delay",
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
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot(xlabel="mean delay / s", ylabel="mAP 0.1:0.7 / %")
    for row in rows:
        value = 100 * row.map["0.1:0.7"]
        if np.isnan(row.mean_s):
            axes.axhline(value, color="0.5", linestyle="--", label=row.name)
        else:
            axes.plot(row.mean_s, value, "o", label=row.name)
    axes.legend(fontsize="small")
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


@click.command("live-accuracy", cls=console.Command)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
@dataset_decorator
@click.option("--videos", "limit", type=click.IntRange(min=1), help="The first so many only.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads of the engine.")
@click.option("--plot", type=click.Path(path_type=Path), help="Picture of mAP against delay.")
@click.option("--out", type=click.Path(path_type=Path), help="Also write the table as Markdown.")
def main(
    model: Path,
    data: Path,
    dataset_options: DatasetOptions,
    limit: int | None,
    threads: int | None,
    plot: Path | None,
    out: Path | None,
) -> None:
    """Compare live operation with whole videos on the test set of DATA.

    MODEL.live.onnx must lie beside MODEL (co2net-export --live; with --calibration DATA, the prior
    is compared, too).

    Example: python -m co2net_benchmarks.live_accuracy model.onnx data/ --out live.md
    """
    dataset = open_dataset(data, dataset_options)
    videos = dataset.videos(dataset.test_subset)[:limit]
    if not any(len(video.segments) for video in videos):
        raise InputError(f"{data}: no segment is annotated in these videos")
    with Localizer.load(model, device="cpu", threads=threads) as localizer:
        if not set(localizer.contract.classes) <= set(dataset.classes):
            raise InputError(f"{model}: made for other classes than those of {data}")
        rows = [judge_offline(localizer, dataset, videos)]
    pool = LivePool.load(model, threads=threads)
    prior = bool(pool.contract.context_prior)
    pool.close()
    if not prior:
        console.note(f"{sibling(model, 'live')} holds no prior: that context is left out")
    for name, options in strategies(prior=prior).items():
        console.note(name)
        pool = LivePool.load(model, options, threads=threads)
        try:
            rows.append(judge(name, run_live(pool, dataset, videos), dataset, videos))
        finally:
            pool.close()
    table = accuracy_table(rows)
    click.echo(table.to_markdown())
    if out is not None:
        write_text(out, table.to_markdown() + "\n")
    if plot is not None:
        draw(rows, plot)


if __name__ == "__main__":
    main()
