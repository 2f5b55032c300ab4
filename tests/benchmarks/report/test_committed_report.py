"""The report under benchmarks/results: measured at once, and docs/measuring.md shows its rows."""

import re
from itertools import dropwhile, takewhile
from pathlib import Path

ROOT = Path(__file__).parents[3]
SUITE = ROOT / "benchmarks" / "results" / "suite"
REPORT = (SUITE / "report.md").read_text(encoding="utf-8")
OVERVIEW = "What each target costs and is worth"


def table(text, title):
    """Return the Markdown table below a heading: its columns, and its rows as mappings."""
    lines = dropwhile(lambda line: not line.startswith("|"), text.partition(title)[2].splitlines())
    rows = takewhile(lambda line: line.startswith("|"), lines)
    columns, _, *body = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    return columns, [dict(zip(columns, row, strict=True)) for row in body]


def test_one_command_measured_it_and_all_targets_came_through():
    commands = re.findall(r"^- .*: (co2net-bench .*)$", REPORT, flags=re.MULTILINE)
    assert len(commands) == 1
    assert commands[0].startswith("co2net-bench suite ")
    assert " /" not in commands[0]
    _, rows = table(REPORT, OVERVIEW)
    assert len(rows) == 10
    for row in rows:
        assert "(failed)" not in row["target"]
        assert "(not installed)" not in row["target"]
    assert {row["parity"] for row in rows} == {"reference", "passed", "-"}


def test_only_table_and_picture_are_kept():
    assert sorted(path.name for path in SUITE.iterdir()) == ["README.md", "report.md", "report.png"]
    assert (SUITE / "report.png").read_bytes().startswith(b"\x89PNG")
    assert "](report.png)" in (SUITE / "README.md").read_text(encoding="utf-8")


def test_the_documentation_shows_rows_of_the_report():
    """Some of the columns, all of the rows."""
    _, reported = table(REPORT, OVERVIEW)
    page = (ROOT / "docs" / "measuring.md").read_text(encoding="utf-8")
    columns, shown = table(page, "results/suite/report.md")
    assert len(columns) > 4
    assert shown == [{column: row[column] for column in columns} for row in reported]
