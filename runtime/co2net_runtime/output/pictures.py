"""The pictures of videos: which files are written, and the ground truth they show."""

import logging
import math
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from co2net_runtime.artefact.contract import Contract
from co2net_runtime.detections import Detections
from co2net_runtime.errors import InputError
from co2net_runtime.files.atomic import write_text
from co2net_runtime.files.text import label_name, normalized, read_json
from co2net_runtime.network.network import Activations
from co2net_runtime.output.index_page import write_index
from co2net_runtime.output.timeline import Bar, Timeline, make_timeline
from co2net_runtime.output.timeline_page import film_address, to_html
from co2net_runtime.output.timeline_plot import require_matplotlib, save_plot

logger = logging.getLogger(__name__)

# the files of ActivityNet have this prefix, its annotations do not
_PREFIX = "v_"


class Pictures:
    """Draws the timeline of one video after another into a folder."""

    def __init__(
        self,
        folder: Path,
        formats: Sequence[str] = ("png",),
        ground_truth: str | os.PathLike[str] | None = None,
    ) -> None:
        """Prepare to draw.

        Args:
            folder: Where the pictures go.
            formats: Of PICTURES.
            ground_truth: An ActivityNet-style annotation JSON.

        Raises:
            MissingDependencyError: matplotlib is needed and not there.
            InputError: The annotations cannot be read.
        """
        self._folder = folder
        self._truth = None if ground_truth is None else read_ground_truth(ground_truth)
        self._writers = {name: _writer(name) for name in dict.fromkeys(formats)}

    def draw(
        self,
        video: str,
        activations: Activations,
        shown: Detections,
        contract: Contract,
        film: Path | None = None,
    ) -> list[Path]:
        """Write VIDEO.png and the like, and return their paths.

        film: the video file, which pages show beside the curves; None: there is none.
        """
        truth = None if self._truth is None else self._truth_of(video)
        timeline = make_timeline(video, activations, shown, contract, truth)
        paths = []
        for path, write in zip(self._paths(video), self._writers.values(), strict=True):
            write(timeline, path, film)
            paths.append(path)
        return paths

    def finish(self) -> None:
        """Write index.html where there are pages: it lists those of earlier runs, too."""
        if "html" in self._writers:
            write_index(self._folder)

    def refuse_existing(self, videos: Iterable[str]) -> None:
        """Raise InputError if a picture of one of the videos exists."""
        for video in videos:
            for path in self._paths(video):
                if os.path.exists(path):  # noqa: PTH110  # False, too, for too long a name
                    raise InputError(
                        f"{path}: exists already: choose another --plot or pass --overwrite"
                    )

    def _truth_of(self, video: str) -> Sequence[Bar]:
        assert self._truth is not None
        video = normalized(video)
        for name in (video, _PREFIX + video, video.removeprefix(_PREFIX)):
            if name in self._truth:
                return self._truth[name]
        logger.warning("%s: not in the annotations: its picture shows no ground truth", video)
        return []

    def _paths(self, video: str) -> list[Path]:
        return [self._folder / f"{video}.{name}" for name in self._writers]


def read_ground_truth(path: str | os.PathLike[str]) -> dict[str, list[Bar]]:
    """Read the segments by video from an ActivityNet-style annotation JSON.

    Raises InputError if the file is missing or no such JSON.
    """
    document = read_json(path, "annotations")
    try:
        return {
            normalized(video): [_bar(one) for one in entry.get("annotations", [])]
            for video, entry in document["database"].items()
        }
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise InputError(
            f'{path}: expected annotations, {{"database": {{video: {{"annotations": [...]}}}}}}'
        ) from error


def _bar(annotation: Any) -> Bar:
    start_s, end_s = (float(time) for time in annotation["segment"])
    if not math.isfinite(end_s - start_s):
        raise ValueError("a segment that is not finite")
    return Bar(label_name(annotation["label"]), start_s, end_s)


def _writer(name: str) -> Callable[[Timeline, Path, Path | None], None]:
    if name == "html":
        return _write_page
    require_matplotlib()
    return lambda timeline, path, _film: save_plot(timeline, path)


def _write_page(timeline: Timeline, path: Path, film: Path | None) -> None:
    seen = None if film is None else film_address(film, path)
    write_text(path, to_html(timeline, seen))
