"""The choices that command lines offer, apart from the code, so that --help loads nothing else."""

from typing import Literal

FormatName = Literal["json", "jsonl", "csv", "srt", "label-studio", "eaf", "via"]
FORMATS: tuple[FormatName, ...] = ("json", "jsonl", "csv", "srt", "label-studio", "eaf", "via")
# those that hold all results, so that a later run can go on with them
CONTINUED = ("json", "jsonl", "csv")
# those of which a file holds one video
ONE_VIDEO = ("srt", "eaf")
PICTURES = ("png", "svg", "html")
MEDIA = "{video}.mp4"


def ending(name: FormatName) -> str:
    """Return the suffix of a format's files, with the dot."""
    return f".{name}.json" if name in ("label-studio", "via") else f".{name}"
