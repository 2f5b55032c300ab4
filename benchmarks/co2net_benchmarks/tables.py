"""One table, shown as aligned text, Markdown or HTML."""

import html
import textwrap
from dataclasses import dataclass

from co2net.aligned import aligned

_NOTE_WIDTH = 100


@dataclass(frozen=True)
class Table:
    """A title, column headings, rows, and notes below."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]  # each as wide as the headings
    notes: tuple[str, ...] = ()  # findings, always shown
    left: int = 1  # number of columns aligned left; the others, numbers, right
    explanations: tuple[str, ...] = ()  # of the columns; a terminal shows them on request

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"{self.title}: {len(self.columns)} columns, a row of {len(row)}")

    def to_text(self, *, explain: bool = False) -> str:
        """Return aligned plain text for a terminal; explain: with the explanations."""
        shown = aligned([self.columns, *self.rows], left=self.left)
        shown.insert(1, "-" * max(len(line) for line in shown))
        notes = [textwrap.fill(note, _NOTE_WIDTH) for note in self._notes(explain)]
        return "\n".join([self.title, *shown, *notes])

    def to_markdown(self) -> str:
        """Return a Markdown section."""
        rule = ["---" if i < self.left else "---:" for i in range(len(self.columns))]
        lines = [
            f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |"
            for line in (self.columns, rule, *self.rows)
        ]
        notes = [f"\n{note}" for note in self._notes()]
        return "\n".join([f"### {self.title}\n", *lines, *notes])

    def to_html(self) -> str:
        """Return an HTML section."""
        head = "".join(self._cell("th", i, column) for i, column in enumerate(self.columns))
        body = "\n".join(
            "<tr>" + "".join(self._cell("td", i, cell) for i, cell in enumerate(row)) + "</tr>"
            for row in self.rows
        )
        notes = "".join(f'<p class="note">{html.escape(note)}</p>' for note in self._notes())
        return (
            f"<section><h3>{html.escape(self.title)}</h3>\n<div class=wide><table>"
            f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>{notes}</section>"
        )

    def _notes(self, explain: bool = True) -> tuple[str, ...]:
        return (*self.notes, *self.explanations) if explain else self.notes

    def _cell(self, tag: str, index: int, text: str) -> str:
        side = " class=left" if index < self.left else ""
        return f"<{tag}{side}>{html.escape(text)}</{tag}>"


def milliseconds(seconds: float | None) -> str:
    """Return seconds as milliseconds with three significant digits; '-' for None."""
    return "-" if seconds is None else significant(seconds * 1e3)


def significant(value: float) -> str:
    """Return a number with three significant digits, never in exponent notation."""
    if value == 0:
        return "0"
    digits = max(0, 2 - _magnitude(value))
    return f"{value:.{digits}f}"


def _magnitude(value: float) -> int:
    return int(f"{abs(value):.2e}".partition("e")[2])


def megabytes(count: int | None) -> str:
    """Return bytes as megabytes (10^6); '-' for None."""
    return "-" if count is None else significant(count / 1e6)


def percent(share: float | None) -> str:
    """Return a share as percent; '-' for None."""
    return "-" if share is None else f"{share * 100:.1f} %"
