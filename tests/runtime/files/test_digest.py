"""Digests: each file is read once, until it changes."""

import hashlib

import pytest

from co2net_runtime.files import digest
from co2net_runtime.files.digest import begin_sha256


def test_a_file_is_hashed_once_until_it_changes(tmp_path, monkeypatch):
    read = []
    sha256 = digest.sha256
    monkeypatch.setattr(digest, "sha256", lambda path: read.append(path) or sha256(path))
    path = tmp_path / "model"
    for content in (b"one", b"another"):
        path.write_bytes(content)
        for name in (path, str(path)):
            assert begin_sha256(name)() == hashlib.sha256(content).hexdigest()
    assert read == [path, path]


def test_a_file_that_is_not_there_says_so_when_asked(tmp_path):
    wanted = begin_sha256(tmp_path / "none")
    with pytest.raises(FileNotFoundError):
        wanted()
