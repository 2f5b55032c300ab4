"""One line of co2net-doctor's report."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warn", "fail"]

GIB = 1 << 30


@dataclass(frozen=True)
class Check:
    """One line of the report. fix: a command, or "" where nothing is to be done."""

    name: str
    status: Status
    found: str
    fix: str = ""
