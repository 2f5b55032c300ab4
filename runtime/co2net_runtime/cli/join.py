"""co2net-join: the shards of an archive -> one result file."""

from pathlib import Path

import click

from co2net_runtime.cli import console
from co2net_runtime.errors import InputError
from co2net_runtime.output.choices import CONTINUED
from co2net_runtime.output.formats import Showing, json_lines, make_format
from co2net_runtime.output.sinks import check_out, is_folder, name_formats, open_sink
from co2net_runtime.shards.results import job_of, joined

EPILOG = """
\b
Examples:
  co2net-join shards/ predictions.json
  co2net-join shards/ predictions.csv --overwrite
"""


@click.command("co2net-join", cls=console.Command, epilog=EPILOG)
@click.argument("shards", type=click.Path(path_type=Path))
@click.argument("out")
@click.option("--overwrite", is_flag=True, help="Replace OUT.")
@console.quiet_option
@console.version_option
def main(shards: Path, out: str, overwrite: bool, quiet: bool) -> None:
    """Join the SHARDS that co2net-archive or co2net-infer --shard wrote into one file, OUT.

    OUT is a .json, .jsonl or .csv file. Videos that failed are left out. co2net-bench accuracy
    reads a folder of shards as it is.
    """
    (name,) = name_formats([out], None)
    if is_folder(out) or name not in CONTINUED:
        raise InputError(f"{out}: expected a name that ends in .json, .jsonl or .csv")
    job = job_of(shards)
    origin = {key: job[key] for key in job if key not in ("schema_version", "names_sha256")}
    check_out(out, name, (), replace=overwrite)
    form = make_format(name, lambda: origin, Showing((), 0))
    sink = open_sink(out, name, form, json_lines(lambda: origin), resume=False)
    count = 0
    try:
        for video, records in joined(shards):
            sink.add(video, records)
            count += 1
        sink.finish()
    finally:
        sink.close()
    console.note(f"{count} of {job['videos']} videos -> {out}", quiet=quiet)
