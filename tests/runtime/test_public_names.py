"""One door: what `import co2net_runtime` offers."""

import subprocess
import sys

import pytest

import co2net_runtime


def test_every_public_name_is_there_and_visible():
    assert set(co2net_runtime.__all__) <= set(dir(co2net_runtime))
    for name in co2net_runtime.__all__:
        assert getattr(co2net_runtime, name) is not None
    assert issubclass(co2net_runtime.BackendError, co2net_runtime.Co2netError)


def test_looking_imports_nothing():
    program = "import co2net_runtime, sys; dir(co2net_runtime); assert 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_unknown_names_are_errors():
    with pytest.raises(AttributeError, match="no attribute 'Localiser'"):
        co2net_runtime.Localiser  # noqa: B018  # the access is what is tested
