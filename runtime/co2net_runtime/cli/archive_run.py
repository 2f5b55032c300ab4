"""The work of co2net-archive: plans the shards, lets Ray compute them, reports."""

import os
import secrets
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from co2net_runtime.archive.cluster import Cluster, run_shards
from co2net_runtime.archive.inputs import find_archive
from co2net_runtime.archive.worker import WorkerOptions
from co2net_runtime.artefact.backbone import FlowAlgorithm
from co2net_runtime.backends import EngineOptions
from co2net_runtime.cli import console
from co2net_runtime.cli.engine_options import engine_options
from co2net_runtime.cli.infer_job import Choice, describe
from co2net_runtime.cli.infer_shard import THREADS
from co2net_runtime.cli.video_options import check_flow_algorithm
from co2net_runtime.errors import InputError, MissingDependencyError
from co2net_runtime.feature_files import expand_lists
from co2net_runtime.features import SUFFIXES, FeatureFile
from co2net_runtime.files.atomic import output_file, output_folder, sweep_temporaries
from co2net_runtime.files.digest import begin_sha256
from co2net_runtime.files.text import number_of
from co2net_runtime.localizer import Localizer
from co2net_runtime.shards.folder import claim, job_identity, read_failures, shard_path
from co2net_runtime.shards.plan import names_sha256, shard_all
from co2net_runtime.video import SUFFIXES as VIDEO_SUFFIXES
from co2net_runtime.watching.metrics import Metrics

if TYPE_CHECKING:
    from co2net_runtime.archive.videos import Backbones


def archive(
    model: Path,
    inputs: tuple[str, ...],
    out: Path,
    address: str | None,
    actors: int | None,
    shard_videos: int,
    min_score: float | None,
    top_k: int | None,
    batch: int | None,
    rgb: Path | None,
    flow: Path | None,
    flow_algorithm: FlowAlgorithm | None,
    accept_mismatch: bool,
    metrics: Path | None,
    quiet: bool,
    **engine: Any,
) -> None:
    """Compute the shards that are missing; the arguments are co2net-archive's options.

    Raises InputError for inputs that cannot be and for another job's folder, and what `run_shards`
    raises. Ends the click command with the exit code.
    """
    if find_spec("ray") is None:
        raise MissingDependencyError("Ray", "ray", "co2net-archive")
    console.log_to_stderr(quiet=quiet)
    figures = Metrics(None if metrics is None else output_file(metrics, overwrite=True))
    backbones = None
    if rgb is not None:
        from co2net_runtime.archive.videos import Backbones

        flow_path = None if flow is None else os.fspath(flow.absolute())
        backbones = Backbones(os.fspath(rgb.absolute()), flow_path, flow_algorithm, accept_mismatch)
    elif flow is not None or flow_algorithm is not None or accept_mismatch:
        raise click.UsageError("--flow, --flow-algorithm and --accept-mismatch need --rgb")
    check_flow_algorithm(flow_algorithm, flow)
    places = find_archive(expand_lists(inputs), SUFFIXES if rgb is None else VIDEO_SUFFIXES)
    count = -(-len(places) // shard_videos)
    shards = dict(enumerate(shard_all(places, count)))
    folder = output_folder(out).absolute()
    engine["threads"] = engine["threads"] or THREADS
    lengths = (_length(name, place) for name, place in places.items())
    # as co2net-infer, which does not know the lengths of videos
    options = engine_options(engine).suiting(lengths if backbones is None else [])
    with Localizer.load(model, options) as localizer:
        made_by = describe(model, begin_sha256(model)(), localizer, Choice(min_score, top_k))
        if backbones is not None:
            made_by["extraction"] = _check_backbones(backbones, localizer, model, options)
        size = localizer.network.batch_size(batch)
        info = localizer.engine
    digest = names_sha256([*places])
    claim(
        folder, job_identity(made_by, size, videos=len(places), names_sha256=digest, shards=count)
    )
    figures.model(made_by)
    sweep_temporaries(folder)
    left = {i: names for i, names in shards.items() if not shard_path(folder, i).exists()}
    console.note(f"{info}; {len(left)} of {count} shards to do", quiet=quiet)
    told = WorkerOptions(
        os.fspath(model.absolute()), options, os.fspath(folder), secrets.token_hex(8),
        info.provider, batch, backbones, top_k, min_score,
    )  # fmt: skip
    cluster = Cluster(address, actors, engine["threads"], info.on_gpu)
    work = {i: {name: _whole(places[name]) for name in names} for i, names in left.items()}
    totals = _run(cluster, told, work, figures, quiet=quiet) if work else {}
    figures.set("co2net_shards_total", count - len(left), result="skipped")
    _report(folder, shards, len(left), totals, figures, quiet=quiet)


def _length(name: str, place: str) -> int | None:
    """Return the snippets of a file; of one that is elsewhere, enough to count as long."""
    return 10**9 if "://" in place else FeatureFile(name, Path(place)).length()


def _check_backbones(
    backbones: "Backbones", localizer: Localizer, model: Path, options: EngineOptions
) -> dict[str, Any]:
    """Return the identity of the features. Raises what opening does, and `check_fit`."""
    from co2net_runtime.video.localizer import check_fit

    with backbones.open(options) as extractor:
        fits = backbones.accept_mismatch
        check_fit(localizer.contract, extractor, str(model), accept_mismatch=fits)
        return extractor.extraction.to_mapping()


def _whole(place: str) -> str:
    """Return a path that is the same for a process in another folder."""
    return place if "://" in place else os.path.abspath(place)  # noqa: PTH100  # a million


def _run(
    cluster: Cluster,
    told: WorkerOptions,
    work: Mapping[int, Mapping[str, str]],
    figures: Metrics,
    *,
    quiet: bool,
) -> dict[str, float]:
    totals = dict.fromkeys(("done", "failed", "video_s", "records"), 0.0)
    begun = time.monotonic()
    counts = run_shards(cluster, told, work)
    with console.progress(counts, "shards", length=len(work), quiet=quiet) as shown:
        for row in shown:
            for key in totals:
                totals[key] += float(row[key])
            figures.add("co2net_shards_total", result="done")
            for result in ("done", "failed"):
                figures.set("co2net_videos_total", totals[result], result=result)
            figures.set("co2net_video_seconds_total", totals["video_s"])
            figures.set("co2net_records_total", totals["records"])
            figures.update()
    totals["seconds"] = time.monotonic() - begun
    return totals


def _report(
    folder: Path,
    shards: Mapping[int, list[str]],
    tried: int,
    totals: Mapping[str, float],
    figures: Metrics,
    *,
    quiet: bool,
) -> None:
    missing = [index for index in shards if not shard_path(folder, index).exists()]
    failed = 0
    for index in sorted(shards.keys() - set(missing)):
        for _, error in read_failures(shard_path(folder, index)):
            console.report_error("co2net-archive", error)
            failed += 1
    for index in missing:
        first = shards[index][0] if shards[index] else "no video"
        videos = number_of(len(shards[index]), "video")
        text = f"{shard_path(folder, index)}: not done ({videos} from {first})"
        console.report_error("co2net-archive", text)
    figures.set("co2net_shards_total", len(missing), result="failed")
    figures.update(force=True)
    rate = totals.get("video_s", 0) / max(totals.get("seconds", 0), 1e-9)
    console.note(
        f"{len(shards) - len(missing)} of {len(shards)} shards, {len(shards) - tried} of them "
        f"already there; {number_of(round(totals.get('done', 0)), 'video')} now, {failed} failed "
        f"in all; "
        f"{rate:.0f} video-hours an hour -> {folder}",
        quiet=quiet,
    )
    if missing and len(missing) == len(shards):
        raise InputError(f"{folder}: no shard could be done")
    if missing or failed:
        click.get_current_context().exit(console.EXIT_SOME_FAILED)
