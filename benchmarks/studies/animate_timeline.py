"""The animated picture of README: a video of the demo, and its timeline as it is played.

make demo-video
python benchmarks/studies/animate_timeline.py demo-video-out test_000 docs/timeline.webp
"""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from co2net_runtime import Localizer
from co2net_runtime.cli import console
from co2net_runtime.files.atomic import atomic_path
from co2net_runtime.output.pictures import read_ground_truth
from co2net_runtime.output.timeline import make_timeline
from co2net_runtime.output.timeline_plot import save_plot
from co2net_runtime.video.decode import VideoReader

WIDTH = 900  # of the picture, in pixels
FILM = 240  # height of the video
VEIL = 0.8  # how much of what is still to come is hidden
HEAD = (214, 39, 40)


@click.command("animate_timeline", cls=console.Command)
@click.argument("demo", type=click.Path(path_type=Path))
@click.argument("video")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--fps", type=float, default=5, show_default=True, help="Pictures a second.")
def main(demo: Path, video: str, out: Path, fps: float) -> None:
    """Draw VIDEO of the folder DEMO, which make demo-video wrote, to OUT (.webp)."""
    with Localizer.load(demo / "model.onnx") as localizer:
        features = np.load(demo / "features" / f"{video}.npy")
        (found,) = localizer.network.run([features])
        shown = localizer.detect(found).best_per_component().at_operating_point()
        truth = read_ground_truth(demo / "annotations.json")[video]
        timeline = make_timeline(video, found, shown, localizer.contract, truth)
        with TemporaryDirectory() as folder:
            save_plot(timeline, Path(folder) / "plot.png")
            plot = Image.open(Path(folder) / "plot.png").convert("RGB")
    plot = plot.resize((WIDTH, round(plot.height * WIDTH / plot.width)), Image.Resampling.LANCZOS)
    left, right = chart_edges(plot)
    frames = [
        picture(plot, film, left + (right - left) * at_s / timeline.duration_s)
        for at_s, film in films(demo / "videos" / f"{video}.mp4", fps, timeline.duration_s)
    ]
    options: dict[str, Any] = {"duration": round(1000 / fps), "loop": 0}
    buffer = BytesIO()
    frames[0].save(
        buffer, "WEBP", save_all=True, append_images=frames[1:], quality=60, method=4, **options
    )
    with atomic_path(out) as temporary:
        temporary.write_bytes(buffer.getvalue())
    console.note(f"{out}: {len(frames)} pictures, {len(buffer.getvalue()) / 1e3:.0f} kB")


def chart_edges(plot: Image.Image) -> tuple[int, int]:
    """Return where the time axis begins and ends: the longest dark line from left to right."""
    dark = np.asarray(plot.convert("L")) < 110
    row = int(dark.sum(axis=1).argmax())
    columns = np.flatnonzero(dark[row])
    return int(columns[0]), int(columns[-1])


def films(path: Path, fps: float, duration_s: float) -> Iterator[tuple[float, Image.Image]]:
    """Yield (seconds, picture) of the video, `fps` times a second."""
    with VideoReader(path) as video:
        due = 0.0
        for frame in video:
            if due <= frame.time < duration_s:
                yield frame.time, Image.fromarray(frame.read())
                due += 1 / fps


def picture(plot: Image.Image, film: Image.Image, head: float) -> Image.Image:
    """Return the video above the plot, of which what lies behind `head` is veiled."""
    whole = Image.new("RGB", (WIDTH, FILM + plot.height), "white")
    scaled = film.resize((round(film.width * FILM / film.height), FILM))
    whole.paste(scaled, ((WIDTH - scaled.width) // 2, 0))
    pixels: npt.NDArray[np.float64] = np.asarray(plot).astype(np.float64)
    pixels[:, round(head) :] = 255 * VEIL + pixels[:, round(head) :] * (1 - VEIL)
    whole.paste(Image.fromarray(pixels.astype(np.uint8)), (0, FILM))
    line = ImageDraw.Draw(whole)
    line.line([(head, FILM + 24), (head, whole.height - 20)], fill=HEAD, width=2)
    return whole


if __name__ == "__main__":
    main()
