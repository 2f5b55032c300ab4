"""MkDocs hook: pages made from the code, and the pages that lie outside docs/.

Commands come from click, settings from the dataclasses and the comments beside their fields, the
Python API from docstrings (mkdocstrings). benchmarks/results and CHANGELOG.md join the site, and
links to them are rewritten; links to other files of the repository become plain names.
"""

import importlib.metadata
import json
import os
import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import click
import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent
sys.path[:0] = [str(ROOT / each) for each in ("benchmarks", "export", "runtime", "")]

LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?://|#)([^)#\s]+)(#[^)\s]*)?\)")
LINE_WIDTH = 100  # of help pages


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages and those of other folders."""
    for name, text in _generated().items():
        files.append(File.generated(config, name, content=text))
    for source, name in _elsewhere().items():
        files.append(File.generated(config, name, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Rewrite the links of a page to where their files lie in the site."""
    name = page.file.src_uri
    sources = {target: source for source, target in _elsewhere().items()}
    here = (ROOT / sources.get(name, f"docs/{name}")).parent

    def rewrite(match: re.Match[str]) -> str:
        picture, text, target, anchor = match.groups()
        path = os.path.relpath(os.path.normpath(here / target), ROOT)
        if path.startswith("docs/"):
            found = path.removeprefix("docs/")
        elif path in _elsewhere():
            found = _elsewhere()[path]
        else:
            return f"`{path}`"
        link = os.path.relpath(found, os.path.dirname(name) or ".")  # noqa: PTH120
        return f"{picture}[{text}]({link}{anchor or ''})"

    return LINK.sub(rewrite, markdown)


def _elsewhere() -> dict[str, str]:
    """Files outside docs/ that the site shows, and where."""
    results = ROOT / "benchmarks" / "results"
    shown = {"CHANGELOG.md": "changelog.md", "runtime/docker/README.md": "docker.md"}
    for path in sorted(results.rglob("*")):
        if path.suffix in (".md", ".png"):
            shown[str(path.relative_to(ROOT))] = f"results/{path.relative_to(results)}"
    return shown


def _generated() -> dict[str, str]:
    return {
        "reference/commands.md": commands_page(),
        "reference/settings.md": settings_page(),
        "reference/files.md": files_page(),
        "reference/api.md": api_page(),
    }


class Examples(griffe.Extension):
    """Shows the example of a docstring as code."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Fence the indented lines after "Example:"."""
        if obj.docstring:
            obj.docstring.value = re.sub(
                r"^Example:\n((?:(?: {4}.*)?\n?)+)",
                lambda m: f"**Example**\n\n```python\n{textwrap.dedent(m[1]).strip()}\n```\n\n",
                obj.docstring.value,
                flags=re.MULTILINE,
            )


def commands_page() -> str:
    """Return the help pages of all commands."""
    from co2net_runtime.cli.entry import Entry
    from co2net_runtime.cli.live import live

    parts = ["# Commands\n\nAs `--help` prints them. [Exit codes](../running.md#exit-codes)."]
    for script in sorted(importlib.metadata.entry_points(group="console_scripts")):
        if script.name.startswith("co2net-"):
            found = script.load()
            parts += _help(script.name, found.load() if isinstance(found, Entry) else found)
        if script.name == "co2net-infer":
            parts += _help("co2net-infer --live", live)
    return "\n\n".join(parts)


def _help(name: str, command: click.Command, level: str = "##") -> Iterator[str]:
    context = click.Context(command, info_name=name, max_content_width=LINE_WIDTH, color=False)
    context.terminal_width = LINE_WIDTH
    yield f"{level} {name}"
    yield f"```text\n{command.get_help(context)}\n```"
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            if found:
                yield from _help(f"{name} {child}", found, level + "#")


def settings_page() -> str:
    """Return the tables of settings: of a training run, of live streams, of engines."""
    from co2net.config import TrainConfig
    from co2net_runtime import EngineOptions, LiveOptions

    parts = [
        "# Settings",
        "## Training",
        "`co2net-train --set KEY=VALUE`, or a line of the YAML file of `--config`. Defaults are "
        "those of `--preset thumos14`.",
        *_tables(TrainConfig, TrainConfig()),
        "## Live streams",
        "`LiveOptions` in Python; `co2net-infer --live` has an option for each.",
        *_tables(LiveOptions, LiveOptions()),
        "## Engines",
        "`EngineOptions` in Python; `co2net-infer` has an option for most.",
        *_tables(EngineOptions, EngineOptions()),
    ]
    return "\n\n".join(parts)


def _tables(cls: type[Any], defaults: Any, prefix: str = "") -> Iterator[str]:
    from co2net.field_comments import field_comments

    comments = field_comments(cls)
    rows, groups = [], []
    for field in fields(cls):
        value = getattr(defaults, field.name)
        if is_dataclass(value):
            groups.append((type(value), value, f"{prefix}{field.name}.", comments[field.name]))
            continue
        shown = "null" if value is None else str(value).lower() if value in (True, False) else value
        meaning = comments[field.name].replace("|", "\\|")
        rows.append(f"| `{prefix}{field.name}` | {shown} | {meaning} |")
    yield "\n".join(["| setting | default | meaning |", "|---|---|---|", *rows])
    for group, value, name, comment in groups:
        yield f"### {name}\n\n{comment[0].upper()}{comment[1:]}."
        yield from _tables(group, value, name)


def files_page() -> str:
    """Return the fields of result files and of live events, from their JSON Schemas."""
    results = json.loads((ROOT / "docs/predictions.schema.json").read_text(encoding="utf-8"))
    events = json.loads((ROOT / "docs/live-events.schema.json").read_text(encoding="utf-8"))
    parts = [
        "# Results and events",
        "Made from the JSON Schemas, which tests hold against what the commands write.",
        "## Results: `.json`, `.jsonl`",
        f"[predictions.schema.json](../predictions.schema.json). {results['description']}",
        _fields(results["properties"], results["required"]),
    ]
    for name, record in results["$defs"].items():
        parts += [f"### A {name}", record.get("description", "")]
        parts.append(_fields(record["properties"], record["required"]))
    parts += [
        "## Live events",
        "[live-events.schema.json](../live-events.schema.json). Each line of `co2net-infer --live` "
        "holds these:",
        _fields(events["properties"], events["required"]),
    ]
    for record in events["oneOf"]:
        kind = record["properties"]["kind"]
        kinds = kind.get("enum", [kind.get("const")])
        parts += ["### " + ", ".join(f"`{each}`" for each in kinds), record["description"]]
        own = {name: value for name, value in record["properties"].items() if name != "kind"}
        parts.append(_fields(own, record["required"]))
    return "\n\n".join(part for part in parts if part)


def _fields(properties: dict[str, Any], required: Sequence[str]) -> str:
    rows = ["| field | type | meaning |", "|---|---|---|"]
    for name, value in properties.items():
        if value is True:  # described for all
            continue
        kind = value.get("type", "") or " or ".join(f"`{each}`" for each in value.get("enum", ()))
        if kind == "array" and "maxItems" in value:
            kind = f"array of {value['maxItems']}"
        optional = "" if name in required else " Optional."
        bounds = _bounds(value)
        meaning = f"{value.get('description', '')}{bounds}{optional}".strip()
        rows.append(f"| `{name}` | {kind} | {meaning} |")
    return "\n".join(rows)


def _bounds(value: dict[str, Any]) -> str:
    low = value.get("minimum", value.get("exclusiveMinimum"))
    high = value.get("maximum", value.get("exclusiveMaximum"))
    if low is None or high is None:
        return ""
    word = ", exclusive" if "exclusiveMinimum" in value else ""
    return f" From {low} to {high}{word}."


def api_page() -> str:
    """Return the page of the names that `co2net_runtime` exports, and of training and export."""
    import co2net_runtime

    parts = ["# Python", "## co2net_runtime", "Everything public is imported from this module."]
    for name in co2net_runtime.__all__:
        if name[0].isupper():
            module = getattr(co2net_runtime, name).__module__
            parts.append(f"::: {module}.{name}\n    options:\n      heading_level: 3")
    parts.append("## co2net")
    for name in ("checkpoint.Checkpoint", "data.dataset.open_dataset", "model.CO2Net"):
        parts.append(f"::: co2net.{name}\n    options:\n      heading_level: 3")
    parts.append("## co2net_export")
    parts.append("::: co2net_export.export.Exporter\n    options:\n      heading_level: 3")
    return "\n\n".join(parts)
