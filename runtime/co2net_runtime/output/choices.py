"""What command lines let users choose from, apart from what does it: --help loads nothing else."""

from typing import Literal

FormatName = Literal["json", "jsonl", "csv", "srt"]
FORMATS: tuple[FormatName, ...] = ("json", "jsonl", "csv", "srt")
PICTURES = ("png", "svg", "html")
