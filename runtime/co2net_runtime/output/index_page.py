"""The page that lists the timeline pages of a folder: what was found in which video."""

import html
import json
import logging
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

from co2net_runtime.files.atomic import write_text
from co2net_runtime.files.text import number_of

logger = logging.getLogger(__name__)

INDEX_NAME = "index.html"
# by which an index page of ours is known
_MARK = '<meta name="generator" content="co2net index">'
_DATA = re.compile(r'<script id="data" type="application/json">(.*?)</script>', re.DOTALL)
_STYLE = """
  :root { color-scheme: light dark; }
  body { margin: 1.2rem auto; max-width: 1100px; padding: 0 1.2rem;
    font: 14px/1.45 system-ui, sans-serif; }
  h1 { font-size: 1.25rem; }
  table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
  th, td { text-align: left; padding: .2rem .8rem .2rem 0; border-bottom: 1px solid #8884; }
  td:nth-child(1) { overflow-wrap: anywhere; }
  tr > :nth-child(2), tr > :nth-child(3), tr > :nth-child(4) { text-align: right; }
"""


def write_index(folder: Path) -> Path | None:
    """Write index.html with a line for every timeline page of a folder, sorted by name.

    Returns its path; None, and a warning, if another page has that name.

    Raises InputError if it cannot be written.
    """
    target = folder / INDEX_NAME
    if target.exists() and _MARK not in target.read_text(encoding="utf-8", errors="replace"):
        logger.warning("%s: is no index of ours and stays as it is", target)
        return None
    rows = []
    for path in sorted(folder.glob("*.html")):
        data = None if path == target else _read(path)
        if data is None:
            continue
        try:
            rows.append(_row(path, data))
        except (LookupError, TypeError, ValueError, ArithmeticError):  # a page of somebody else
            logger.warning("%s: no timeline page of ours, left out of %s", path, INDEX_NAME)
    count = number_of(len(rows), "video")
    head = "<th>video<th>length<th>segments<th>best score<th>classes"
    write_text(
        target,
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n{_MARK}\n'
        f"<title>{count}</title>\n<style>{_STYLE}</style>\n"
        f"<h1>{count}</h1>\n<table>\n<tr>{head}\n{''.join(rows)}</table>\n",
    )
    return target


def _read(path: Path) -> dict[str, Any] | None:
    """Return the content of a timeline page; None for any other page."""
    found = _DATA.search(path.read_text(encoding="utf-8", errors="replace"))
    try:
        data = json.loads(found[1]) if found else None
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) and "segments" in data else None


def _row(path: Path, data: dict[str, Any]) -> str:
    segments = data["segments"]
    seconds = round(len(data["attention"]) * data["snippet_s"])
    best = f"{max(one['score'] for one in segments):.3f}" if segments else ""
    classes = ", ".join(dict.fromkeys(one["label"] for one in segments))
    return (
        f'<tr><td><a href="{quote(path.name)}">{html.escape(path.stem)}</a>'
        f"<td>{seconds // 60}:{seconds % 60:02}<td>{len(segments)}<td>{best}"
        f"<td>{html.escape(classes)}\n"
    )
