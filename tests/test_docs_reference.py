"""Every setting, event, option and exit code has its line in the documentation."""

import dataclasses
import importlib.metadata
import json
import re
import sys
from pathlib import Path

import click
import pytest
from command_server import console_scripts

from co2net_runtime.cli.entry import Entry

pytest.importorskip("mkdocs", reason="mkdocs is in the docs extra")
pytest.importorskip("griffe")

ROOT = Path(__file__).parents[1]
ROW = re.compile(r"^\| `?([^|`]+)`? \| ([^|]*) \| (.*) \|$", re.MULTILINE)


@pytest.fixture(scope="module")
def reference():
    before = list(sys.path)
    import docs_reference

    sys.path[:] = before
    return docs_reference


def keys(record, prefix=""):
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if dataclasses.is_dataclass(value):
            yield from keys(value, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", value


def entry_point(name):
    (script,) = importlib.metadata.entry_points(group="console_scripts", name=name)
    found = script.load()
    return found.load() if isinstance(found, Entry) else found


def all_commands(name, command):
    if isinstance(command, click.Group):
        for child in command.list_commands(click.Context(command)):
            found = command.get_command(click.Context(command), child)
            yield from all_commands(f"{name} {child}", found)
    else:
        yield name, command


def test_every_setting_has_a_line_with_its_default_and_meaning(reference):
    from co2net.config import TrainConfig
    from co2net_runtime import EngineOptions, LiveOptions

    rows = {
        name: (default, meaning)
        for name, default, meaning in ROW.findall(reference.settings_page())
    }
    for record in (TrainConfig(), LiveOptions(), EngineOptions()):
        for name, value in keys(record):
            default, meaning = rows[name]
            assert meaning, name
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                assert float(default) == value, name


def test_every_setting_is_printed_with_its_meaning(reference):
    from co2net.config import TrainConfig
    from co2net.field_comments import field_comments

    for record in (
        TrainConfig,
        *(type(v) for v in vars(TrainConfig()).values() if dataclasses.is_dataclass(v)),
    ):
        assert set(field_comments(record)) == {f.name for f in dataclasses.fields(record)}


def test_every_field_of_results_and_events_has_a_meaning(reference):
    page = reference.files_page()
    rows = ROW.findall(page)
    assert len(rows) > 20
    assert [name for name, _, meaning in rows if not meaning.strip()] == []


def test_the_schema_knows_every_kind_of_event_that_the_code_writes():
    lines = [
        line
        for path in (ROOT / "runtime/co2net_runtime/live").glob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"\bkind\b(: \w| =)|\.event\(", line)
    ]
    written = {word for line in lines for word in re.findall(r'"([a-z_]{2,})"', line)}
    schema = json.loads((ROOT / "docs/live-events.schema.json").read_text(encoding="utf-8"))
    assert written == set(schema["properties"]["kind"]["enum"])
    described = [record["properties"]["kind"] for record in schema["oneOf"]]
    assert written == {kind for one in described for kind in one.get("enum", [one.get("const")])}


def test_every_exit_code_has_a_line():
    from co2net_runtime.cli import console

    codes = {value for name, value in vars(console).items() if name.startswith("EXIT_")}
    page = (ROOT / "docs/running.md").read_text(encoding="utf-8")
    table = page.partition("## Exit codes")[2].partition("\n## ")[0]
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)} == {0, *codes}


def test_every_command_is_in_the_reference_and_every_option_has_its_help(reference):
    page = reference.commands_page()
    for script in console_scripts():
        for name, command in all_commands(script, entry_point(script)):
            assert re.search(f"^##+ {name}$", page, re.MULTILINE), name
            options = [each for each in command.params if isinstance(each, click.Option)]
            assert [each.name for each in options if not (each.help or each.hidden)] == [], name


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    pages = {path.name for path in (ROOT / "docs").glob("*.md")}
    assert {
        page for page in pages if not re.search(rf": {re.escape(page)}$", navigation, re.MULTILINE)
    } == set()
