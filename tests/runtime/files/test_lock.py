import subprocess
import sys

import pytest

from co2net_runtime.errors import InputError
from co2net_runtime.files.lock import lock, lock_file

HOLD = """
import sys, time
from co2net_runtime.files.lock import lock
with lock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_process_is_refused_and_told_who_holds_it(tmp_path, holder):
    with (
        pytest.raises(InputError, match=rf"in use by process {holder.pid}: wait"),
        lock(tmp_path),
    ):
        pass
    holder.kill()
    holder.wait()
    assert lock_file(tmp_path).is_file()
    with lock(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_yet_to_be_written_can_be_held(tmp_path):
    target = tmp_path / "results.jsonl"
    with lock(target):
        assert lock_file(target).name == ".results.jsonl.lock"
        with pytest.raises(InputError, match="in use by process"), lock(target):
            pass
        with lock(tmp_path / "others.jsonl"):
            pass
    with lock(target):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_leftover_lock_file_does_not_block(tmp_path):
    (tmp_path / ".lock").write_text("1\n")
    with lock(tmp_path):
        pass


def test_a_lock_in_a_missing_folder_is_the_user_s_error(tmp_path):
    with (
        pytest.raises(InputError, match=r"a\.jsonl: cannot write here"),
        lock(tmp_path / "x/a.jsonl"),
    ):
        pass
