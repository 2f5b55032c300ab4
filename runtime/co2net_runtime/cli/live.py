"""co2net-infer --live: streams of features -> JSON lines of events while they happen."""

import sys
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import click

from co2net_runtime.artefact.backbone import FlowAlgorithm
from co2net_runtime.cli import console
from co2net_runtime.cli.engine_options import (
    ENGINE_GROUPS,
    engine_options,
    note_bf16,
    run_options,
)
from co2net_runtime.cli.model_argument import check_model_argument
from co2net_runtime.cli.video_options import check_flow_algorithm, video_options
from co2net_runtime.errors import InputError
from co2net_runtime.files.atomic import output_file
from co2net_runtime.files.digest import begin_sha256
from co2net_runtime.files.lock import lock
from co2net_runtime.files.text import number_of, read_text
from co2net_runtime.live.arrivals import Source
from co2net_runtime.live.camera import Camera, is_video
from co2net_runtime.live.camera_network import CameraNetwork
from co2net_runtime.live.job import JobOptions, LiveJob, OnBad
from co2net_runtime.live.pool import LiveOptions, LivePool, live_path
from co2net_runtime.live.snippet_queue import Overflow, StreamQueue
from co2net_runtime.live.sources import open_source
from co2net_runtime.live.state_file import StateFile
from co2net_runtime.live.temporal_mean import CONTEXTS, ContextName
from co2net_runtime.version import VERSION
from co2net_runtime.video.decode import without_password
from co2net_runtime.video.extract import Extractor
from co2net_runtime.video.localizer import check_fit
from co2net_runtime.watching.http import serve_http
from co2net_runtime.watching.metrics import Metrics

EPILOG = """
\b
Sources, each SOURCE or NAME=SOURCE:
  -                   stdin: .npy blocks one after another, as np.save(sys.stdout.buffer, rows)
                      writes them, or raw little-endian float32 snippets
  features.npy        a .npy file (T, D) that grows
  folder/             a folder in which .npy files (n, D) appear, in the order of their names
  unix:PATH           a Unix socket that a producer connects to; bytes as on stdin
  tcp:127.0.0.1:PORT  the same on loopback
Video, of which --rgb and --flow make features:
  rtsp://HOST/NAME    a camera; also udp://, tcp:// (MPEG-TS), http://, and what else FFmpeg reads
  /dev/video0         a camera of this machine
  play:clip.mp4       a file, at its own pace
A camera that does not answer or breaks off is opened again, after 1 s, then 2 s, up to 30 s; the
gap is as long as the clock says. A machine that is too slow drops whole snippets and says so.
Prefer .npy blocks: they say their shape. Raw snippets of another width than the model's are cut in
the wrong places, and what comes out looks plausible and is wrong.
Every line of stdout is one event. A segment comes once, when nothing can change it any more, and
is never taken back; "rank" 0 is the best of its component and class. With --state, a restarted
process goes on where the last one was saved: files and folders are read on from there; events
since then may come twice.

\b
Examples:
  my-extractor camera.mp4 | co2net-infer model.onnx --live - --best
  co2net-infer model.onnx --live door=unix:door.sock yard=tcp:127.0.0.1:9000 --state streams.npz
  co2net-infer model.onnx --live door=rtsp://door/1 yard=/dev/video0 --rgb rgb.onnx --flow flow.onnx
  co2net-infer model.onnx --live growing.npy --end-after 5 --provisional 10
"""

_SECONDS = click.FloatRange(min=0, min_open=True)


OPTION_GROUPS = {
    "Videos and cameras": "--rgb --flow --flow-algorithm --accept-mismatch",
    "Decisions": "--context --half-life --prior --class-window --longest --warmup",
    "Events": "--provisional --min-score --best",
    "Streams": "--streams --tick --queue --overflow --stall --end-after --on-bad",
    "Restarts": "--state --state-every",
    **ENGINE_GROUPS,
}


@click.command(
    "co2net-infer --live", cls=console.Command, epilog=EPILOG, option_groups=OPTION_GROUPS
)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("sources", nargs=-1)
@click.option(
    "--streams",
    type=click.Path(path_type=Path),
    help="File with a NAME=SOURCE per line, besides the arguments.",
)
@click.option(
    "--context",
    type=click.Choice(CONTEXTS),
    default=LiveOptions.context,
    show_default=True,
    help="Replaces the mean of the whole video: the mean so far, an exponential mean, or "
    "the mean of the training videos (co2net-export --live --data DATA).",
)
@click.option(
    "--half-life", "half_life_s", type=_SECONDS, default=LiveOptions.half_life_s, show_default=True,
    help="Seconds, of the exponential mean.",
)  # fmt: skip
@click.option(
    "--prior", "prior_s", type=click.FloatRange(min=0), default=LiveOptions.prior_s,
    show_default=True,
    help="Seconds of stream that the mean of the training videos counts as in the others.",
)  # fmt: skip
@click.option(
    "--class-window", "class_window_s", type=_SECONDS, default=LiveOptions.class_window_s,
    show_default=True, help="Seconds that decide which classes are localized.",
)  # fmt: skip
@click.option(
    "--longest", "longest_s", type=_SECONDS, default=LiveOptions.longest_s, show_default=True,
    help="Seconds; longer components are cut.",
)  # fmt: skip
@click.option(
    "--warmup", "warmup_s", type=click.FloatRange(min=0), default=LiveOptions.warmup_s,
    show_default=True, help="Seconds at the beginning whose segments are marked.",
)  # fmt: skip
@click.option(
    "--provisional", "provisional_s", type=_SECONDS,
    help='Seconds between reports of actions that have not ended ("kind": "ongoing").',
)  # fmt: skip
@click.option("--min-score", type=float, help="Leave out what scores lower.")
@click.option("--best", is_flag=True, help="Of each component and class the best segment only.")
@click.option(
    "--tick", "tick_s", type=click.FloatRange(min=0),
    help="Seconds; streams whose snippets arrive within it share a batch.  [default: a quarter of "
    "a snippet for several streams, 0 for one]",
)  # fmt: skip
@click.option(
    "--queue", type=click.IntRange(min=1), default=256, show_default=True,
    help="Snippets that may wait in each stream.",
)  # fmt: skip
@click.option(
    "--overflow", type=click.Choice(get_args(Overflow)), default="block", show_default=True,
    help="When the queue is full: let the producer wait, or drop the oldest snippets; what is open "
    "then ends, and times stay right.",
)  # fmt: skip
@click.option(
    "--stall", "stall_s", type=_SECONDS, default=10.0, show_default=True,
    help="Seconds of silence after which a producer is reported.",
)  # fmt: skip
@click.option(
    "--end-after", "end_after_s", type=_SECONDS, help="Seconds of silence that end a stream."
)
@click.option(
    "--on-bad", type=click.Choice(get_args(OnBad)), default="skip", show_default=True,
    help="Snippets with NaN, absurd values or of another width: let the previous snippet replace "
    "them, so that times stay right, or end the stream.",
)  # fmt: skip
@click.option(
    "--state", type=click.Path(path_type=Path), help="File to save the streams in and go on from."
)
@click.option(
    "--state-every", "state_every_s", type=click.FloatRange(min=0), default=5.0, show_default=True,
    help="Seconds between two saves.",
)  # fmt: skip
@click.option(
    "--health", "health_s", type=_SECONDS, metavar="SECONDS",
    help="Also write the health of the streams as events: stalled, disconnected and bad_input as "
    "they happen, and a heartbeat every SECONDS.",
)  # fmt: skip
@click.option(
    "--http", metavar="HOST:PORT",
    help="Serve /metrics for Prometheus, and /healthz: 503 while a stream is stalled.",
)  # fmt: skip
@console.metrics_option
@console.log_format_option
@click.option(
    "--rgb",
    type=click.Path(path_type=Path),
    help="Video: the RGB backbone that makes features of it (co2net-backbone).",
)
@click.option("--flow", type=click.Path(path_type=Path), help="Video: the flow backbone.")
@video_options
@run_options
@console.quiet_option
@console.version_option
def live(
    model: Path,
    sources: tuple[str, ...],
    streams: Path | None,
    context: ContextName,
    half_life_s: float,
    prior_s: float,
    class_window_s: float,
    longest_s: float,
    warmup_s: float,
    provisional_s: float | None,
    min_score: float | None,
    best: bool,
    tick_s: float | None,
    queue: int,
    overflow: Overflow,
    stall_s: float,
    end_after_s: float | None,
    on_bad: OnBad,
    state: Path | None,
    state_every_s: float,
    rgb: Path | None,
    flow: Path | None,
    flow_algorithm: FlowAlgorithm | None,
    accept_mismatch: bool,
    health_s: float | None,
    http: str | None,
    metrics: Path | None,
    quiet: bool,
    **engine: Any,
) -> None:
    """Localize actions in streams while they run, with MODEL.live.onnx beside MODEL.

    Ctrl-C ends in order (exit code 130); the exit code is 1 if a stream ended by an error.
    """
    console.log_to_stderr(quiet=quiet)
    named = _named(sources, streams)
    _check_video(named, rgb)
    check_flow_algorithm(flow_algorithm, flow)
    options = LiveOptions(
        context, half_life_s, prior_s, class_window_s, longest_s, warmup_s, provisional_s
    )
    if sys.stdout is None:
        raise InputError("stdout is closed, where the events go")
    if metrics is not None:
        output_file(metrics, overwrite=True)
    check_model_argument(model, sources)
    with ExitStack() as stack:
        state_file = None
        if state is not None:
            state_file = StateFile(state, state_every_s, _note)
            stack.enter_context(lock(state))
        chosen = engine_options(engine)
        # beside cameras the options are the backbones', and the network of a stream is small
        head = chosen if rgb is None else replace(chosen, backend="auto", device="cpu")
        pool = stack.enter_context(LivePool.load(model, options, engine=head))
        note_bf16(head, pool.contract, quiet=quiet)
        model_sha256 = begin_sha256(live_path(model))()
        figures = Metrics(metrics)
        figures.model(
            {
                "model_sha256": model_sha256,
                "precision": pool.contract.precision,
                "engine": {"engine": pool.engine.engine},
                "co2net": VERSION,
            }
        )
        cameras = None
        if rgb is not None:
            extractor = Extractor.open(
                rgb, flow, chosen,
                flow_algorithm=flow_algorithm, accept_mismatch=accept_mismatch,
            )  # fmt: skip
            cameras = stack.enter_context(CameraNetwork(extractor))
            check_fit(pool.contract, extractor, str(model), accept_mismatch=accept_mismatch)
            console.note(str(extractor.extraction), quiet=quiet)
        arrived = threading.Event()
        queues = {
            name: StreamQueue(_open(source, pool, cameras), queue, overflow, arrived.set)
            for name, source in named.items()
        }
        streams_open = number_of(len(queues), "stream")
        behind = f"outputs {pool.lookahead_s():.2f} s behind"
        console.note(f"{streams_open}, {behind}, {pool.engine}", quiet=quiet)
        if tick_s is None:
            tick_s = pool.contract.timing.snippet_s / 4 if len(queues) > 1 else 0.0
        job = LiveJob(
            pool,
            queues,
            JobOptions(tick_s, stall_s, end_after_s, on_bad, min_score, best, health_s),
            state=state_file,
            write=_write,
            note=_note,
            arrived=arrived,
            metrics=figures,
            model_sha256=model_sha256,
        )
        if http is not None:
            where = stack.enter_context(serve_http(http, figures.text, job.health.trouble))
            console.note(f"http://{where[0]}:{where[1]}/metrics, /healthz", quiet=quiet)
        with console.finish_on_interrupt("snippets") as interrupted:
            job.run(interrupted)
    if interrupted.is_set():
        click.get_current_context().exit(console.EXIT_INTERRUPTED)
    if job.failed or (state_file is not None and state_file.failing):
        click.get_current_context().exit(console.EXIT_SOME_FAILED)


def _write(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _note(text: str) -> None:
    console.note(f"co2net-infer: {console.one_line(text)}")


def _check_video(named: Mapping[str, str], rgb: Path | None) -> None:
    """Raise click.UsageError for video without backbones, or backbones without video."""
    video = [source for source in named.values() if is_video(source)]
    if video and rgb is None:
        raise click.UsageError(
            f"{without_password(video[0])}: video: give the backbones that make features of it: "
            "--rgb RGB.onnx, and --flow FLOW.onnx for a model of both streams"
        )
    if not video and rgb is not None:
        raise click.UsageError("--rgb is for video: give a camera, a URL, or play:FILE")


def _open(source: str, pool: LivePool, cameras: CameraNetwork | None) -> Source:
    if cameras is not None and is_video(source):
        return Camera(source, cameras)
    return open_source(source, pool.contract.feature_dim)


def _named(sources: tuple[str, ...], streams: Path | None) -> dict[str, str]:
    """Return the sources by name; raises InputError for names given twice, or none."""
    texts = [*sources]
    if streams is not None:
        lines = read_text(streams, "list of streams").splitlines()
        texts += [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    named: dict[str, str] = {}
    for text in texts:
        name, equals, source = text.partition("=")
        if not equals or "://" in name:  # a URL may hold an =
            source, name = text, "stdin" if text == "-" else Path(without_password(text)).stem
        if not name or name in named:
            raise InputError(f"{text}: its stream needs a name of its own: give NAME=SOURCE")
        if not source:
            raise InputError(f"{text}: names no source: give NAME=SOURCE")
        named[name] = source
    if not named:
        raise click.UsageError("no stream: give a source, as - for stdin, or --streams FILE")
    if list(named.values()).count("-") > 1:
        raise click.UsageError("stdin can be one stream only")
    return named
