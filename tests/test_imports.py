"""Imports run one way: runtime <- co2net <- export <- benchmarks, and never in a circle."""

import ast
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from import_graph import circles, package_imports, rooms

ROOT = Path(__file__).parents[1]
SOURCES = {
    "co2net_runtime": ROOT / "runtime",
    "co2net": ROOT,
    "co2net_export": ROOT / "export",
    "co2net_benchmarks": ROOT / "benchmarks",
}
ABOVE = {
    "co2net_runtime": ["co2net", "co2net_export", "co2net_benchmarks", "torch", "onnx"],
    "co2net": ["co2net_export", "co2net_benchmarks", "onnx"],
    "co2net_export": ["co2net_benchmarks"],
    "co2net_benchmarks": [],
}
# of co2net, these read, evaluate and make data: they work without torch
WITHOUT_TORCH = [
    "cli.data",
    "config",
    "data.annotations",
    "data.bundle",
    "data.dataset",
    "data.safe_pickle",
    "data.synthetic",
    "evaluation.error_analysis",
    "evaluation.mean_ap",
    "evaluation.recall",
    "training.sampling",
]


def modules(package):
    root = SOURCES[package]
    for path in sorted((root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def import_with_blocked(names, blocked):
    program = textwrap.dedent(
        f"""
        import importlib, sys

        class Block:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in {blocked!r}:
                    raise ImportError(f"{{name}} is blocked in this test")

        sys.meta_path.insert(0, Block())
        for name in {names!r}:
            importlib.import_module(name)
        """
    )
    path = [str(root) for root in SOURCES.values()]
    return subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}\n{program}"],
        capture_output=True,
        text=True,
        cwd=ROOT / "tests",
        check=False,
    )


@pytest.mark.parametrize("package", SOURCES)
def test_every_module_imports_without_what_stands_above_it(package):
    blocked = ABOVE[package]
    if package == "co2net_runtime":
        # engines and pictures are optional and imported lazily
        blocked = [*blocked, "onnxruntime", "tensorrt", "cuda", "matplotlib"]
    done = import_with_blocked(list(modules(package)), blocked)
    assert done.returncode == 0, done.stderr


def test_data_and_evaluation_need_no_torch():
    names = [f"co2net.{name}" for name in WITHOUT_TORCH]
    done = import_with_blocked(names, ["torch", "onnx"])
    assert done.returncode == 0, done.stderr


def test_the_block_blocks():
    done = import_with_blocked(["co2net.model"], ["torch"])
    assert done.returncode != 0
    assert "torch is blocked" in done.stderr


@pytest.mark.parametrize("package", SOURCES)
def test_no_module_imports_in_a_circle(package):
    assert circles(package_imports(SOURCES[package], package)) == []


@pytest.mark.parametrize("package", SOURCES)
def test_no_folder_imports_one_that_imports_it(package):
    # folders and the files beside them have an order, so that no import runs up
    assert circles(rooms(package_imports(SOURCES[package], package), package)) == []


@pytest.mark.parametrize("package", SOURCES)
def test_every_package_lists_its_rooms(package):
    """The docstring of a folder's __init__ is its table of contents."""
    unlisted = []
    for door in sorted((SOURCES[package] / package).rglob("__init__.py")):
        contents = ast.get_docstring(ast.parse(door.read_text(encoding="utf-8"))) or ""
        rooms = {path.stem for path in door.parent.glob("*.py")} - {"__init__", "__main__"}
        rooms |= {path.parent.name for path in door.parent.glob("*/__init__.py")}
        named = set(re.findall(r"\w+", contents))
        unlisted += [str(door.parent / room) for room in sorted(rooms - named)]
    assert unlisted == []


def test_a_circle_is_found():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}
    assert circles(graph) == [["a", "b", "c"]]
    assert circles({"a": {"b"}, "b": set()}) == []


def test_a_folder_that_runs_up_is_found(tmp_path):
    package = tmp_path / "house"
    (package / "low").mkdir(parents=True)
    (package / "high.py").write_text("from house.low.one import x\n")
    (package / "low" / "__init__.py").write_text("")
    (package / "low" / "one.py").write_text("import math\n")
    (package / "low" / "two.py").write_text("def later():\n    from house import high\n")
    graph = package_imports(tmp_path, "house")
    assert circles(graph) == []
    assert circles(rooms(graph, "house")) == [["house.high", "house.low"]]
