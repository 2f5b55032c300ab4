import hashlib
import resource
import stat
from pathlib import Path

import pytest

from co2net_runtime.errors import InputError
from co2net_runtime.files.atomic import (
    atomic_path,
    output_folder,
    remove_temporaries,
    sha256,
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


def test_a_full_disk_is_one_line_and_keeps_the_former_file(tmp_path):
    write_text(tmp_path / "a.txt", "old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # the size limit of files fails as a full disk does: while writing
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(InputError, match=r"a\.txt: cannot write it: .*former file is kept"):
            write_text(tmp_path / "a.txt", "x" * 2000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_content_is_on_disk_before_the_name_and_the_name_before_the_end(tmp_path, monkeypatch):
    events = []
    monkeypatch.setattr("os.fsync", lambda handle: events.append(Path(f"/proc/self/fd/{handle}").readlink()))
    replace = Path.replace
    monkeypatch.setattr(Path, "replace", lambda *paths: (events.append("rename"), replace(*paths)))
    write_text(tmp_path / "a.txt", "x")
    content, *rest = events
    assert content.name.startswith(".a.txt.")
    assert rest == ["rename", tmp_path]


def test_only_temporaries_of_the_named_files_are_removed(tmp_path):
    for name in (".a.txt.k3j4h5x_", ".b.txt.k3j4h5x_", "a.txt", ".aa.txt.k3j4h5x_"):
        (tmp_path / name).touch()
    remove_temporaries(tmp_path, ["a.txt"])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".aa.txt.k3j4h5x_",
        ".b.txt.k3j4h5x_",
        "a.txt",
    ]
