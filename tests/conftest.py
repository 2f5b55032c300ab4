"""What all tests share: the golden arrays and the functions that made their inputs."""

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

# how long an example takes says more of the machine than of the code
PATIENT = [HealthCheck.too_slow]
settings.register_profile("co2net", deadline=None, suppress_health_check=PATIENT)
# in CI the same examples every time: new ones are looked for where somebody can look at them
settings.register_profile("ci", deadline=None, derandomize=True, suppress_health_check=PATIENT)
settings.load_profile("ci" if os.environ.get("CI") else "co2net")

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def golden() -> Callable[[str], dict[str, np.ndarray]]:
    """Load golden/NAME.npz as a dict of arrays."""

    def load(name: str) -> dict[str, np.ndarray]:
        with np.load(GOLDEN / f"{name}.npz") as archive:
            return dict(archive)

    return load


@pytest.fixture(scope="session")
def golden_inputs() -> ModuleType:
    """The module golden/inputs.py: parameter(), features(), write_toy_bundle()."""
    spec = importlib.util.spec_from_file_location("golden_inputs", GOLDEN / "inputs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# files that take longest; begun first, so that no process waits for another's last one
LONG = ("tests/test_docs_commands.py", "tests/runtime/archive/", "tests/fuzz/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of LONG first."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))
