"""The selftest on a real GPU: pytest -m gpu."""

import pytest

from co2net_runtime.backends.device import gpus
from co2net_runtime.diagnostics import selftest

pytestmark = pytest.mark.gpu


def test_every_setup_that_this_machine_can():
    assert gpus(), "pytest -m gpu needs an NVIDIA GPU: co2net-doctor says what is missing"
    results = list(selftest.run())
    failed = [f"{one.model} {one.setup}: {one.detail}" for one in results if one.status == "failed"]
    assert not failed, "\n".join(failed)
    assert [one for one in results if "cuda" in one.setup and one.status == "passed"]
