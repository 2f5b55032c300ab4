import errno
import hashlib
import stat

import pytest

from co2net_runtime.errors import InputError
from co2net_runtime.files.atomic import (
    atomic_path,
    output_file,
    output_folder,
    sha256,
    sweep_temporaries,
    write_text,
)


def test_a_file_appears_whole(tmp_path):
    with atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("whole")
        assert not (tmp_path / "a.txt").exists()
        assert temporary.parent == tmp_path
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "whole"


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    write_text(tmp_path / "a.txt", "old")

    def interrupted():
        with atomic_path(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_a_result_is_as_readable_as_any_new_file(tmp_path):
    write_text(tmp_path / "ours.txt", "x")
    (tmp_path / "any.txt").write_text("x")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("ours.txt", "any.txt")]
    assert modes[0] == modes[1]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file.*cannot write here"):
        output_folder(tmp_path / "file" / "out")
    with pytest.raises(InputError, match=r"a\.txt: cannot write here"):
        write_text(tmp_path / "missing" / "a.txt", "x")


def test_output_folder_leaves_no_trace(tmp_path):
    assert list(output_folder(tmp_path / "deep" / "out").iterdir()) == []


def test_sha256(tmp_path):
    data = b"co2net" * 400_000
    (tmp_path / "a").write_bytes(data)
    assert sha256(tmp_path / "a") == hashlib.sha256(data).hexdigest()


def test_leftovers_of_a_killed_process_are_swept_and_those_in_use_are_not(tmp_path):
    leftover = tmp_path / ".a.txt.k3j2h1g0"
    other = tmp_path / ".b.txt.k3j2h1g0"
    hidden = tmp_path / ".gitignore"
    for file in (leftover, other, hidden):
        file.touch()
    with atomic_path(tmp_path / "a.txt") as temporary:
        sweep_temporaries(tmp_path, "a.txt")
        assert temporary.is_file()
        assert not leftover.exists()
        assert other.is_file()
        sweep_temporaries(tmp_path)
        assert temporary.is_file()
    assert sorted(file.name for file in tmp_path.iterdir()) == [".gitignore", "a.txt"]
    sweep_temporaries(tmp_path / "missing")


def test_an_output_file_is_not_replaced_unless_told(tmp_path):
    assert output_file(tmp_path / "deep" / "a.txt", overwrite=False).parent.is_dir()
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(InputError, match=r"a\.txt: exists already: .*--overwrite"):
        output_file(tmp_path / "a.txt", overwrite=False)
    assert output_file(tmp_path / "a.txt", overwrite=True) == tmp_path / "a.txt"
    with pytest.raises(InputError, match="a folder"):
        output_file(tmp_path, overwrite=True)


def test_a_full_disk_is_one_line_and_the_old_file_stays(tmp_path):
    write_text(tmp_path / "a.txt", "old")

    def full():
        with atomic_path(tmp_path / "a.txt"):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(InputError, match=r"a\.txt: cannot write: No space left on device"):
        full()
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_the_longest_names_can_be_written(tmp_path):
    name = "ä" * 125 + ".json"
    write_text(tmp_path / name, "x")
    assert [path.name for path in tmp_path.iterdir()] == [name]
