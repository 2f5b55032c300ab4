"""The report under benchmarks/results: its runs, its tables and README's say the same."""

from itertools import dropwhile, takewhile
from pathlib import Path

from co2net_benchmarks.report.report import Report
from co2net_benchmarks.run_file import read_runs

ROOT = Path(__file__).parents[3]
SUITE = ROOT / "benchmarks" / "results" / "suite"


def table(text, title):
    """Return the Markdown table below a heading: its columns, and its rows as mappings."""
    lines = dropwhile(lambda line: not line.startswith("|"), text.partition(title)[2].splitlines())
    rows = takewhile(lambda line: line.startswith("|"), lines)
    columns, _, *body = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    return columns, [dict(zip(columns, row, strict=True)) for row in body]


def test_tables_are_those_of_the_runs():
    """After a change to the tables: co2net-bench report SUITE/report.json -o SUITE/report.html."""
    made = Report(read_runs(SUITE / "report.json"))
    assert (SUITE / "report.md").read_text(encoding="utf-8") == made.to_markdown()


def test_one_command_measured_it_and_all_targets_came_through():
    runs = read_runs(SUITE / "report.json")
    assert [run.kind for run in runs] == ["parity", "latency"]
    for run in runs:
        assert run.command[:2] == ("co2net-bench", "suite")
        assert not any(word.startswith("/") for word in run.command)
        assert not str(run.settings["features"]).startswith("/")
    assert {info["status"] for info in runs[1].results["targets"]} == {"measured"}
    assert all(one["status"] == "measured" for one in runs[0].results["artefacts"])


def test_readme_shows_rows_of_the_report():
    """Some of the columns, all of the rows."""
    title = "What each target costs and is worth"
    _, reported = table((SUITE / "report.md").read_text(encoding="utf-8"), title)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    columns, shown = table(readme, "benchmarks/results/suite/report.md")
    assert len(columns) > 4
    assert shown == [{column: row[column] for column in columns} for row in reported]
