"""co2net-extract: videos -> feature files."""

from pathlib import Path
from typing import Any

import click

from co2net_runtime.cli import console
from co2net_runtime.cli.engine_options import ENGINE_GROUPS, run_options
from co2net_runtime.cli.video_options import video_options

EPILOG = """
\b
Examples:
  co2net-extract videos/ --rgb rgb.onnx --flow flow.onnx --out features/
  co2net-extract 'videos/*.mp4' --rgb rgb.onnx --out rgb-features/
  co2net-extract videos/ --rgb rgb.onnx --flow flow.onnx --out features/ --skip-existing
"""


@click.command("co2net-extract", cls=console.Command, epilog=EPILOG, option_groups=ENGINE_GROUPS)
@click.argument("videos", nargs=-1, required=True)
@click.option(
    "--rgb",
    type=click.Path(path_type=Path),
    required=True,
    help="RGB backbone, an ONNX file of co2net-backbone.",
)
@click.option(
    "--flow",
    type=click.Path(path_type=Path),
    help="Flow backbone. Without it, features are of RGB alone.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of the features: NAME.npy for each video, and extraction.json.",
)
@click.option("--skip-existing", is_flag=True, help="Go on where an earlier run stopped.")
@click.option("--overwrite", is_flag=True, help="Replace features that are there.")
@click.option(
    "--dtype",
    type=click.Choice(("float32", "float16")),
    default="float32",
    show_default=True,
    help="Of the values on disk.",
)
@video_options
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON on stdout.")
@run_options
@console.quiet_option
@console.version_option
def main(**given: Any) -> None:
    """Extract snippet features of VIDEOS: files, folders of them, or glob patterns.

    Each video gives OUT/NAME.npy with a row per snippet (T, D): RGB, then flow. The folder's
    extraction.json says what made them; features that were made otherwise are not added to it.
    A video that cannot be used is reported, the others are still done, and the exit code is 1.
    Ctrl-C ends after the current video (exit code 130).
    """
    from co2net_runtime.cli.extract_run import extract

    extract(**given)
