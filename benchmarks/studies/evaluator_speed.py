"""How fast is the evaluator? `python benchmarks/studies/evaluator_speed.py` prints it.

Synthetic instances and predictions of THUMOS14's size (212 test videos, 20 classes, 3,358
instances, 13,000 predictions, 9 thresholds), so that it runs anywhere; the evaluator of this
package and a plain transcription of the published loop (method, section 5) take turns in one
process.
"""

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import numpy as np

from co2net.data.annotations import Video
from co2net.evaluation.mean_ap import (
    THUMOS14_TIOUS,
    Floats,
    GroundTruth,
    Predictions,
    detection_map,
)
from co2net.evaluation.protocol import evaluate
from co2net_runtime.cli import console
from co2net_runtime.detections import Detections, read_results, results_document

CLASSES = tuple(f"class{label:02d}" for label in range(20))


def synthetic_thumos14(
    seed: int = 0, videos: int = 212, instances: int = 3358, predictions: int = 13_000
) -> tuple[list[Video], dict[str, Detections]]:
    """Return annotated videos and detections in them, deterministic in `seed`.

    Three quarters of the detections are instances with jittered ends, with one in ten under
    another class; the rest lies anywhere. A video has one class, every sixth a second one.
    """
    rng = np.random.default_rng(seed)
    share = rng.lognormal(sigma=1.0, size=videos)
    owner = rng.choice(videos, size=instances, p=share / share.sum())
    duration_s = 30 + rng.exponential(200, size=videos)
    first, second = rng.integers(len(CLASSES), size=(2, videos))
    labels = np.where((owner % 6 == 0) & (rng.random(instances) < 0.5), second[owner], first[owner])
    length = np.minimum(rng.lognormal(1.2, 0.9, size=instances), duration_s[owner] / 2)
    start = rng.uniform(0, duration_s[owner] - length)
    segments = np.stack([start, start + length], axis=1)

    near = predictions * 3 // 4
    source = rng.integers(instances, size=near)
    ends = segments[source] + rng.normal(size=(near, 2)) * 0.3 * length[source, None]
    confused = rng.integers(len(CLASSES), size=near)
    elsewhere = rng.integers(videos, size=predictions - near)
    free = np.sort(rng.uniform(0, duration_s[elsewhere, None], size=(predictions - near, 2)))
    found_videos = np.concatenate([owner[source], elsewhere])
    found_segments = np.sort(np.concatenate([ends, free]).clip(0))
    found_labels = np.concatenate(
        [np.where(rng.random(near) < 0.1, confused, labels[source]), first[elsewhere]]
    )
    scores = rng.random(predictions)

    annotated, results = [], {}
    for number in range(videos):
        name = f"video_{number:04d}"
        mine, found = owner == number, found_videos == number
        annotated.append(
            Video(
                name=name,
                subset="test",
                duration_s=float(duration_s[number]),
                labels=tuple(sorted(set(labels[mine].tolist()))),
                segments=segments[mine],
                segment_labels=labels[mine],
                ambiguous=np.zeros((0, 2)),
            )
        )
        results[name] = Detections(
            found_segments[found], scores[found], found_labels[found], CLASSES
        )
    return annotated, results


def plain_average_precision(
    ground_truth: GroundTruth, predictions: Predictions, class_count: int, tious: Sequence[float]
) -> Floats:
    """Return the AP per threshold and class, (K, C) float64, NaN for a class without instances.

    One prediction after the other, one instance after the other, as one would write it down.
    """
    ap = np.full((len(tious), class_count), np.nan)
    for label in range(class_count):
        instances: dict[int, list[tuple[float, float]]] = {}
        for video, (start, end), truth_label in zip(
            ground_truth.videos.tolist(),
            ground_truth.segments.tolist(),
            ground_truth.labels.tolist(),
            strict=True,
        ):
            if truth_label == label:
                instances.setdefault(video, []).append((start, end))
        count = sum(len(segments) for segments in instances.values())
        if not count:
            continue
        ranked = [row for row in np.argsort(-predictions.scores, kind="stable").tolist()
                  if predictions.labels[row] == label]  # fmt: skip
        for row, threshold in enumerate(tious):
            ap[row, label] = _area(_hits(predictions, ranked, instances, threshold), count)
    return ap


def _hits(
    predictions: Predictions,
    ranked: list[int],
    instances: dict[int, list[tuple[float, float]]],
    threshold: float,
) -> list[bool]:
    taken = set()
    hits = []
    for row in ranked:
        video = int(predictions.videos[row])
        start, end = predictions.segments[row].tolist()
        overlaps = []
        for index, (truth_start, truth_end) in enumerate(instances.get(video, [])):
            inter = max(0.0, min(end, truth_end) - max(start, truth_start))
            union = (end - start) + (truth_end - truth_start) - inter
            overlaps.append((inter / union if union > 0 else 0.0, index))
        hit = False
        for tiou, index in sorted(overlaps, reverse=True):
            if tiou >= threshold and (video, index) not in taken:
                taken.add((video, index))
                hit = True
                break
        hits.append(hit)
    return hits


def _area(hits: list[bool], count: int) -> float:
    precisions, recalls, found = [0.0], [0.0], 0
    for rank, hit in enumerate(hits, start=1):
        found += hit
        precisions.append(found / rank)
        recalls.append(found / count)
    precisions.append(0.0)
    recalls.append(1.0)
    for i in range(len(precisions) - 2, -1, -1):
        precisions[i] = max(precisions[i], precisions[i + 1])
    return sum(
        (recalls[i] - recalls[i - 1]) * precisions[i]
        for i in range(1, len(recalls))
        if recalls[i] != recalls[i - 1]
    )


@click.command(cls=console.Command)
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(min=1))
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def main(rounds: int, as_json: bool) -> None:
    """Time the evaluator against a plain transcription of the published loop.

    Example: python benchmarks/studies/evaluator_speed.py --rounds 3
    """
    videos, results = synthetic_thumos14()
    arrays = evaluate(results, videos, CLASSES)
    truth, predictions = arrays.ground_truth, arrays.predictions
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "predictions.json"
        file.write_text(json.dumps(results_document(results, {})), encoding="utf-8")
        contenders: dict[str, Callable[[], Floats]] = {
            "co2net.evaluation.mean_ap": lambda: (
                detection_map(truth, predictions, len(CLASSES), THUMOS14_TIOUS).ap
            ),
            "the same from a predictions file": lambda: (
                evaluate(read_results(file), videos, CLASSES).result.ap
            ),
            "plain transcription": lambda: plain_average_precision(
                truth, predictions, len(CLASSES), THUMOS14_TIOUS
            ),
        }
        seconds: dict[str, list[float]] = {name: [] for name in contenders}
        answers = {}
        for _ in range(rounds):
            for name, run in contenders.items():
                begin = time.perf_counter()
                answers[name] = run()
                seconds[name].append(time.perf_counter() - begin)
    for name, answer in answers.items():
        if not np.allclose(answer, arrays.result.ap, rtol=0, atol=1e-12, equal_nan=True):
            raise click.ClickException(f"{name} and co2net.evaluation.mean_ap disagree on the AP")
    medians = {name: float(np.median(times)) for name, times in seconds.items()}
    if as_json:
        sizes = {"predictions": len(predictions), "instances": len(truth), "rounds": rounds}
        click.echo(json.dumps({**sizes, "median_s": medians}))
        return
    click.echo(
        f"{len(predictions):,} predictions, {len(truth):,} instances, {len(THUMOS14_TIOUS)} tIoUs; "
        f"median of {rounds} rounds in turns; all three give the same AP"
    )
    for name, median in medians.items():
        ratio = medians["plain transcription"] / median
        click.echo(f"{name:<34}{median:8.3f} s   {ratio:6.1f} x")


if __name__ == "__main__":
    main()
