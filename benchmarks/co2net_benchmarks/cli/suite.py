"""co2net-bench suite: parity, latency and the report of them, in one go."""

from pathlib import Path

import click

from co2net_benchmarks.cli.latency import latency
from co2net_benchmarks.cli.options import LENGTHS, PATH
from co2net_benchmarks.cli.parity import parity
from co2net_benchmarks.cli.report import report
from co2net_benchmarks.runners.targets import parse_targets
from co2net_runtime.cli import console
from co2net_runtime.cli.engine_options import MOST_THREADS
from co2net_runtime.files.atomic import output_folder

EPILOG = """
\b
Examples:
  co2net-bench suite run/best.ckpt model.onnx model.int8.onnx --features data/ --out results/
  co2net-bench suite run/best.ckpt model.onnx --quick --out results/
"""


@click.command(cls=console.Command, epilog=EPILOG)
@click.argument("checkpoint", type=PATH)
@click.argument("artefacts", nargs=-1, required=True, type=PATH, metavar="ARTEFACT...")
@click.option("--out", type=PATH, required=True, help="Folder for the runs and the report.")
@click.option(
    "--features",
    type=PATH,
    metavar="DATA",
    help="Videos to judge decisions and mAP on, and to measure with.  [default: planted ones]",
)
@click.option(
    "--lengths",
    type=LENGTHS,
    default="50,250,750,2000",
    show_default=True,
    help="Lengths of the videos whose latency is measured, in snippets.",
)
@click.option("--threads", type=click.IntRange(1, MOST_THREADS), help="Threads of the engines.")
@click.option(
    "--no-baselines",
    "--no-peers",
    "no_baselines",
    is_flag=True,
    help="Do not measure the alternatives: torch.compile, plain export, OpenVINO.",
)
@click.option(
    "--quick",
    is_flag=True,
    help="Few samples, one cold start, a small mix: to see that it works, not to quote.",
)
@console.quiet_option
@console.version_option
def suite(
    checkpoint: Path,
    artefacts: tuple[Path, ...],
    out: Path,
    features: Path | None,
    lengths: tuple[int, ...],
    threads: int | None,
    no_baselines: bool,
    quick: bool,
    quiet: bool,
) -> None:
    """Measure ARTEFACTs against CHECKPOINT in every way and write OUT/report.html.

    Runs parity, then latency (single-stream with cold starts, and offline over a quarter of
    THUMOS14's test lengths) with the baselines that are installed and the published
    post-processing, then report. The run files stay in OUT. The exit code is 3 if an artefact does
    not meet its gate, 1 if a target failed.
    """
    # a missing file is reported before the long work
    parse_targets([str(checkpoint), *map(str, artefacts)])
    folder = output_folder(out)
    common = ["--quiet"] if quiet else []
    common += ["--threads", str(threads)] if threads else []
    common += ["--features", str(features)] if features else []
    names = [str(path) for path in artefacts]
    runs = {name: folder / f"{name}.json" for name in ("parity", "latency")}
    codes = [
        _run(
            parity,
            [
                *(str(checkpoint), *names, "--out", str(runs["parity"]), *common),
                *(("--videos", "20") if quick else ()),
            ],
        ),
        _run(
            latency,
            [
                *(str(checkpoint), *names, "--out", str(runs["latency"]), *common),
                *("--lengths", ",".join(map(str, lengths)), "--mix", "thumos14"),
                *("--scenario", "single-stream", "--scenario", "offline"),
                *(() if no_baselines else ("--baselines", "--published-decoding")),
                *(_QUICK if quick else _FULL),
            ],
        ),
    ]
    quietly = ["--quiet"] if quiet else []
    _run(
        report,
        [*(str(path) for path in runs.values()), "-o", str(folder / "report.html"), *quietly],
    )
    click.get_current_context().exit(max(codes))


_FULL = ("--samples", "64", "--length-limit", "80", "--cold-starts", "3", "--mix-videos", "53")
_QUICK = ("--samples", "8", "--cold-starts", "1", "--mix-videos", "8", "--no-gemm")


def _run(command: click.Command, arguments: list[str]) -> int:
    code = command.main(arguments, standalone_mode=False)
    click.echo()
    return code if isinstance(code, int) else 0
