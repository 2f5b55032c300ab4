import os
import subprocess
import sys

import pytest

from co2net_runtime.errors import InputError
from co2net_runtime.files.lock import exclusive


def test_the_second_one_is_refused_with_the_holders_id(tmp_path):
    with (
        exclusive(tmp_path / ".lock", "the run"),
        pytest.raises(InputError, match=f"the run is in use by process {os.getpid()}"),
        exclusive(tmp_path / ".lock", "the run"),
    ):
        pass
    with exclusive(tmp_path / ".lock", "the run"):
        pass


def test_the_lock_of_a_killed_process_does_not_block(tmp_path):
    code = (
        "import os, sys; from co2net_runtime.files.lock import exclusive\n"
        "with exclusive(sys.argv[1], 'it'): os.kill(os.getpid(), 9)"
    )
    lock = tmp_path / ".lock"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.run([sys.executable, "-c", code, lock], env=environment, check=False)
    assert killed.returncode == -9
    assert lock.read_text().strip().isdigit()
    with exclusive(lock, "it"):
        assert lock.read_text() == f"{os.getpid()}\n"


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(InputError, match="cannot write here"), exclusive(tmp_path / "a/b", "it"):
        pass
