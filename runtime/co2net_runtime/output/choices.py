"""The choices that command lines offer, apart from the code, so that --help loads nothing else."""

from typing import Literal

FormatName = Literal["json", "jsonl", "csv", "srt"]
FORMATS: tuple[FormatName, ...] = ("json", "jsonl", "csv", "srt")
PICTURES = ("png", "svg", "html")
