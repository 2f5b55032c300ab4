"""The import graph: runtime <- co2net <- export <- benchmarks, and torch only where it must be."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

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
    "evaluation.mean_ap",
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
