"""The documentation names what exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
SOURCE = re.compile(r"`((?:runtime|co2net|export|benchmarks|tests)/[\w./]*)`")
GENERATED = "reference/"  # from the code: `make docs`, docs_reference.py
LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_files_and_links_exist(page):
    text = page.read_text(encoding="utf-8")
    missing = [name for name in SOURCE.findall(text) if not (ROOT / name).exists()]
    links = [name for name in LINK.findall(text) if not name.startswith(GENERATED)]
    missing += [name for name in links if not (page.parent / name).exists()]
    assert not missing


def test_the_code_cites_sections_that_the_method_has():
    sections = set(re.findall(r"^## (\d)", (ROOT / "docs/method.md").read_text(), re.MULTILINE))
    cited = set()
    for root in ("runtime", "co2net", "export", "benchmarks"):
        for path in (ROOT / root).rglob("*.py"):
            cited |= set(re.findall(r"\(method, section (\d)", path.read_text()))
    assert cited
    assert cited <= sections
