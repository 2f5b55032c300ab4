"""Maps the four packages to the folders that hold them; everything else is in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

ROOTS = {"co2net": ".", "co2net_runtime": "runtime", "co2net_export": "export"}
ROOTS["co2net_benchmarks"] = "benchmarks"

here = Path(__file__).parent
packages = [
    name
    for package, root in ROOTS.items()
    for name in find_packages(str(here / root), include=[package, f"{package}.*"])
]

setup(
    packages=packages,
    package_dir={package: f"{root}/{package}" for package, root in ROOTS.items()},
    package_data={
        **{package: ["py.typed"] for package in ROOTS},
        "co2net_runtime": ["py.typed"],
        "co2net.backbone": ["*.json"],
        "co2net_runtime.output": ["*.html"],
        "co2net_runtime.diagnostics.selftest_models": ["*.onnx", "*.npz"],
    },
)
