"""Results of videos, one after another, as JSON, JSON lines, CSV and subtitles; and read back.

A video's records are those of ActivityNet: {"label", "score", "segment": [start_s, end_s]}, or
without "segment" where only classes were asked for.
"""

import csv
import io
import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from co2net_runtime.detections import FORMAT_VERSION, Detections
from co2net_runtime.errors import InputError
from co2net_runtime.output.choices import FormatName
from co2net_runtime.output.subtitles import to_srt

Records = list[dict[str, Any]]
# what made the results; asked for when it is written, since hashing a model takes a while
MadeBy = Callable[[], Mapping[str, Any]]

# what must agree with an earlier run that is gone on with
SAME = ("model_sha256", "options")
# options that change scores in their last bits only: a run may go on with others
LAST_BITS = ("threads", "cpu_form")


class Format(Protocol):
    """Text of many videos, made piece by piece: head, each video, tail."""

    def head(self) -> str:
        """Return what stands before the first video."""

    def video(self, name: str, records: Records, *, first: bool) -> str:
        """Return one video's piece."""

    def tail(self) -> str:
        """Return what stands after the last video."""

    def read(self, text: str, where: str) -> dict[str, Records]:
        """Return the records by video of an earlier run's text.

        Raises InputError if it is damaged, or was made with another model or other options.
        """


def make_format(
    name: FormatName, made_by: MadeBy, classes: tuple[str, ...], share: float
) -> Format:
    """Return the format. made_by: what made the results. share: see `SubtitleFormat`."""
    if name == "json":
        return JsonFormat(made_by)
    if name == "jsonl":
        return JsonLinesFormat(made_by)
    return CsvFormat() if name == "csv" else SubtitleFormat(classes, share)


class JsonFormat:
    """One ActivityNet result document; `external_data` says what made it."""

    def __init__(self, made_by: MadeBy) -> None:
        self._made_by = made_by

    def head(self) -> str:
        """Return the version, and the results' opening."""
        return f'{{"version": {json.dumps(FORMAT_VERSION)}, "results": {{'

    def video(self, name: str, records: Records, *, first: bool) -> str:
        """Return the video's member of the results."""
        return f"{'' if first else ','}\n{json.dumps(name)}: {json.dumps(records)}"

    def tail(self) -> str:
        """Return the results' end and what made them."""
        return f'\n}}, "external_data": {json.dumps(self._made_by())}}}\n'

    def read(self, text: str, where: str) -> dict[str, Records]:
        """Return the results of a document."""
        try:
            document = json.loads(text)
            results = {str(name): list(found) for name, found in document["results"].items()}
            made_by = dict(document["external_data"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{where}: expected the JSON of an earlier run") from error
        _require_same(made_by, self._made_by(), where)
        return results


class JsonLinesFormat:
    """One line per video, complete in itself, written as soon as the video is done."""

    def __init__(self, made_by: MadeBy) -> None:
        self._made_by = made_by

    def head(self) -> str:
        """Return nothing."""
        return ""

    def video(self, name: str, records: Records, *, first: bool) -> str:  # noqa: ARG002  # all alike
        """Return the video's line."""
        line = {"video": name, "results": records, "external_data": self._made_by()}
        return json.dumps(line) + "\n"

    def tail(self) -> str:
        """Return nothing."""
        return ""

    def read(self, text: str, where: str) -> dict[str, Records]:
        """Return the results of all lines; what follows the last line's end is left out."""
        results: dict[str, Records] = {}
        for number, line in enumerate(text.split("\n")[:-1], 1):
            try:
                entry = json.loads(line)
                results[str(entry["video"])] = list(entry["results"])
                made_by = dict(entry["external_data"])
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(
                    f"{where}: line {number}: expected the JSON of an earlier run"
                ) from error
            _require_same(made_by, self._made_by(), f"{where}: line {number}")
        return results


class CsvFormat:
    """One row per segment, or per class."""

    COLUMNS = ("video", "start_s", "end_s", "label", "score")

    def head(self) -> str:
        """Return the row of column names; start and end are empty where only classes are."""
        return _csv_row(self.COLUMNS)

    def video(self, name: str, records: Records, *, first: bool) -> str:  # noqa: ARG002  # all alike
        """Return the video's rows."""
        return "".join(
            _csv_row([name, *record.get("segment", ("", "")), record["label"], record["score"]])
            for record in records
        )

    def tail(self) -> str:
        """Return nothing."""
        return ""

    def read(self, text: str, where: str) -> dict[str, Records]:
        """Return the records of all rows; which model made them cannot be told."""
        results: dict[str, Records] = {}
        try:
            rows = csv.DictReader(io.StringIO(text))
            if tuple(rows.fieldnames or ()) != self.COLUMNS:
                raise ValueError("other columns")
            for row in rows:
                record: dict[str, Any] = {"label": row["label"], "score": float(row["score"])}
                if row["start_s"]:
                    record["segment"] = [float(row["start_s"]), float(row["end_s"])]
                results.setdefault(row["video"], []).append(record)
        except (KeyError, ValueError, TypeError) as error:
            raise InputError(f"{where}: expected the CSV of an earlier run") from error
        return results


class SubtitleFormat:
    """SubRip subtitles of one video: the segments at or above `share` of its best score."""

    def __init__(self, classes: tuple[str, ...], share: float) -> None:
        self._classes = classes
        self._share = share

    def head(self) -> str:
        """Return nothing."""
        return ""

    def video(self, name: str, records: Records, *, first: bool) -> str:  # noqa: ARG002  # one only
        """Return the cues."""
        found = Detections.from_records(records, self._classes, name)
        return to_srt(found.at_operating_point(self._share) if self._share else found)

    def tail(self) -> str:
        """Return nothing."""
        return ""

    def read(self, text: str, where: str) -> dict[str, Records]:  # noqa: ARG002  # refuses all
        """Refuse: subtitles do not hold what made them."""
        raise InputError(f"{where}: subtitles cannot be gone on with")


def _csv_row(values: Any) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(values)
    return line.getvalue()


def _require_same(earlier: Mapping[str, Any], now: Mapping[str, Any], where: str) -> None:
    different = [name for name in SAME if _decisive(earlier, name) != _decisive(now, name)]
    if different:
        raise InputError(
            f"{where}: made with another {' and '.join(different)}: choose another --out, or "
            "leave --skip-existing away to write it anew"
        )


def _decisive(made_by: Mapping[str, Any], name: str) -> Any:
    """Return one entry of what made the results, without the options in LAST_BITS."""
    entry = made_by.get(name)
    if not isinstance(entry, dict):
        return entry
    return {key: value for key, value in entry.items() if key not in LAST_BITS}
