"""Results of videos as JSON, JSON lines and CSV, written and read back, and as files for people.

A video's records are those of ActivityNet: {"label", "score", "segment": [start_s, end_s]}, with
"confidence"; or {"label", "score"} where only classes were asked for.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from co2net_runtime.detections import FORMAT_VERSION, Detections, confidences
from co2net_runtime.errors import InputError
from co2net_runtime.output.choices import MEDIA, FormatName
from co2net_runtime.output.subtitles import to_srt

Records = list[dict[str, Any]]
# the origin of the results; asked for when it is written, since hashing a model takes a while
MadeBy = Callable[[], Mapping[str, Any]]

COLUMNS = ("video", "start_s", "end_s", "label", "score", "confidence")

# these must agree with an earlier run that is continued
_SAME = ("model_sha256", "options")
# options that change scores in their last bits only: a run may be continued with others
_LAST_BITS = ("threads", "cpu_form")
# the beginning of a line, as json_lines writes it
_NAME = re.compile(rb'\{"video": ("(?:[^"\\]|\\.)*"), "results": \[')
# a spreadsheet takes a cell that begins like this for a formula
_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def _nothing() -> str:
    return ""


@dataclass(frozen=True)
class Format:
    """Text of many videos, made piece by piece: head, the videos, tail."""

    video: Callable[[str, Records], str]  # name, records -> the piece of one video
    # text of an earlier run -> records by video. Raises InputError if it was made with another
    # model or other options, and anything else if it is damaged: `read_earlier` names the file
    read: Callable[[str], dict[str, Records]]
    head: str = ""
    separator: str = ""  # between two videos
    tail: Callable[[], str] = _nothing
    # JSON lines: the names in an earlier run's lines, at constant memory; errors as `read`
    names: Callable[[Iterable[bytes]], Iterator[str]] | None = None


@dataclass(frozen=True)
class Showing:
    """How subtitles and annotation tools show results."""

    classes: tuple[str, ...]  # the model's
    share: float  # segments from this share of the video's best score on; 0: all
    fps: float = 25.0  # frame rate of Label Studio's timeline
    media: str = MEDIA  # where a tool finds a video: {video} stands for its name

    def select(self, video: str, records: Records) -> Detections:
        """Return the segments to show of one video."""
        found = Detections.from_records(records, self.classes, video)
        return found.at_operating_point(self.share) if self.share else found

    def select_best(self, video: str, records: Records) -> Detections:
        """Return the best of each component and class among them: tools want no overlaps."""
        found = Detections.from_records(records, self.classes, video).best_per_component()
        return found.at_operating_point(self.share) if self.share else found

    def place(self, video: str) -> str:
        """Return where the tool finds a video."""
        return self.media.replace("{video}", video)


def make_format(name: FormatName, made_by: MadeBy, showing: Showing) -> Format:
    """Return the format of a name.

    Args:
        name: One of FORMATS.
        made_by: The origin of the results: model, engine, options.
        showing: How files for people show the results.
    """
    if name == "json":
        return _json(made_by)
    if name == "jsonl":
        return json_lines(made_by)
    if name == "csv":
        return _csv()
    return _FOR_PEOPLE[name](made_by, showing)


def _json(made_by: MadeBy) -> Format:
    """One ActivityNet result document; `external_data` holds the origin."""

    def read(text: str) -> dict[str, Records]:
        document = json.loads(text)
        _require_same(document["external_data"], made_by())
        return {str(name): _checked(found) for name, found in document["results"].items()}

    return Format(
        video=lambda name, records: f"\n{json.dumps(name)}: {json.dumps(records)}",
        read=read,
        head=f'{{"version": {json.dumps(FORMAT_VERSION)}, "results": {{',
        separator=",",
        tail=lambda: f'\n}}, "external_data": {json.dumps(made_by())}}}\n',
    )


def json_lines(made_by: MadeBy) -> Format:
    """One line per video, complete in itself, written as soon as the video is done."""

    def video(name: str, records: Records) -> str:
        line = {"video": name, "results": records, "external_data": made_by()}
        return json.dumps(line) + "\n"

    def read(text: str) -> dict[str, Records]:
        results: dict[str, Records] = {}
        for line in text.split("\n")[:-1]:  # a crash may have cut the last line
            entry = json.loads(line)
            _require_same(entry["external_data"], made_by())
            results[str(entry["video"])] = _checked(entry["results"])
        return results

    def names(lines: Iterable[bytes]) -> Iterator[str]:
        known = b""
        for line in lines:
            if not line.endswith(b"\n"):  # a crash has cut it
                return
            # in JSON no string holds this text, whose quotes would be escaped
            head, _, made_with = line.rpartition(b', "external_data": ')
            name = _NAME.match(head)
            if name is not None and made_with == known:
                yield json.loads(name[1])
                continue
            yield from read(line.decode())
            known = made_with

    return Format(video, read, names=names)


def _csv() -> Format:
    """One row per segment, or per class, whose start, end and confidence are empty.

    Names and labels that a spreadsheet would take for a formula get a ' in front.
    """

    def row(values: Any) -> str:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(values)
        return line.getvalue()

    def cell(text: str) -> str:
        return f"'{text}" if _FORMULA.match(text) else text

    def uncell(text: str) -> str:
        return text[1:] if text.startswith("'") and _FORMULA.match(text) else text

    def video(name: str, records: Records) -> str:
        return "".join(
            row(
                [
                    cell(name),
                    *one.get("segment", ("", "")),
                    cell(one["label"]),
                    one["score"],
                    one.get("confidence", ""),
                ]
            )
            for one in records
        )

    def read(text: str) -> dict[str, Records]:
        results: dict[str, Records] = {}
        rows = csv.DictReader(io.StringIO(text, newline=""))
        if tuple(rows.fieldnames or ()) not in (COLUMNS, COLUMNS[:-1]):
            raise ValueError("other columns")
        for one in rows:
            record = {"label": uncell(one["label"]), "score": float(one["score"])}
            if one["start_s"]:
                record["segment"] = [float(one["start_s"]), float(one["end_s"])]
            results.setdefault(uncell(one["video"]), []).append(record)
        return {video: _checked(records) for video, records in results.items()}

    return Format(video, read, head=row(COLUMNS))


def _subtitles(made_by: MadeBy, showing: Showing) -> Format:  # noqa: ARG001  # for those that have
    """SubRip subtitles of one video."""
    return Format(lambda name, records: to_srt(showing.select(name, records)), _read_nothing)


def _eaf(made_by: MadeBy, showing: Showing) -> Format:  # noqa: ARG001  # as above
    """An ELAN file of one video."""
    from co2net_runtime.output.elan import to_eaf

    def video(name: str, records: Records) -> str:
        return to_eaf(showing.select_best(name, records), showing.place(name))

    return Format(video, _read_nothing)


def _label_studio(made_by: MadeBy, showing: Showing) -> Format:
    """A list of Label Studio's tasks."""
    from co2net_runtime.output.label_studio import to_task

    def video(name: str, records: Records) -> str:
        found = showing.select_best(name, records)
        model = str(made_by()["model"])
        return json.dumps(to_task(name, found, showing.place(name), showing.fps, model), indent=1)

    return Format(video, _read_nothing, head="[", separator=",\n", tail=lambda: "]\n")


def _via(made_by: MadeBy, showing: Showing) -> Format:  # noqa: ARG001  # as above
    """A project of the VGG Image Annotator, made last: it lists its videos in three places."""
    from co2net_runtime.output.via import to_project

    videos: dict[str, tuple[Detections, str]] = {}

    def video(name: str, records: Records) -> str:
        videos[name] = showing.select_best(name, records), showing.place(name)
        return ""

    def tail() -> str:
        text = json.dumps(to_project(videos), indent=1) + "\n"
        videos.clear()
        return text

    return Format(video, _read_nothing, tail=tail)


def _read_nothing(text: str) -> dict[str, Records]:  # noqa: ARG001  # refuses all
    raise InputError("a file for people cannot be continued")


_FOR_PEOPLE = {"srt": _subtitles, "eaf": _eaf, "label-studio": _label_studio, "via": _via}


def _checked(records: Any) -> Records:
    """Return the records of an earlier run, older ones with their confidence added.

    Raises ValueError or TypeError if they are not records.
    """
    for one in records:
        segment = one.get("segment", [0.0, 0.0])
        if not isinstance(one["label"], str) or len([float(edge) for edge in segment]) != 2:
            raise ValueError("no record of a segment or a class")
        score = float(one["score"])
        if "segment" in one:
            one["confidence"] = float(confidences(score))
    return list(records)


def _require_same(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    different = [name for name in _SAME if _decisive(earlier, name) != _decisive(now, name)]
    if different:
        raise InputError(
            f"made with another {' and '.join(different)}: choose another --out, or pass "
            "--overwrite in place of --skip-existing"
        )


def _decisive(made_by: Mapping[str, Any], name: str) -> Any:
    """Return one entry of the origin, without the options in _LAST_BITS and those not given.

    Older results lack the options that were added since.
    """
    entry = made_by.get(name)
    if not isinstance(entry, dict):
        return entry
    return {
        key: value
        for key, value in entry.items()
        if key not in _LAST_BITS and value is not None and value is not False
    }
