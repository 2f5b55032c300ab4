"""What co2net-archive reads, without Ray."""

import subprocess
import sys

import numpy as np
import pytest

from co2net_runtime.archive.inputs import fetch, find_archive
from co2net_runtime.cli.archive import main
from co2net_runtime.errors import InputError


def test_names_are_paths_below_the_folder(feature_folder, tmp_path):
    feature_folder(5, 6, name="one")
    feature_folder(5, name="two")
    assert find_archive([str(tmp_path)]) == {
        "one/video_000": str(tmp_path / "one" / "video_000.npy"),
        "one/video_001": str(tmp_path / "one" / "video_001.npy"),
        "two/video_000": str(tmp_path / "two" / "video_000.npy"),
    }
    with pytest.raises(InputError, match="give the folder above both"):
        find_archive([str(tmp_path / "one"), str(tmp_path / "two")])


def test_a_store_is_read(tmp_path, videos):
    fsspec = pytest.importorskip("fsspec")
    (rows,) = videos(5)
    store = fsspec.filesystem("memory")
    for name in ("a/x.npy", "b/x.npy", "b/readme.txt"):
        with store.open(f"/archive/{name}", "wb") as file:
            np.save(file, rows)
    found = find_archive(["memory://archive"])
    assert found == {"a/x": "memory:///archive/a/x.npy", "b/x": "memory:///archive/b/x.npy"}
    file = fetch("a/x", found["a/x"], tmp_path)
    assert (file.video, file.read().tolist()) == ("a/x", rows.tolist())
    with pytest.raises(InputError, match=r"memory:///archive/none.npy: cannot be read"):
        fetch("none", "memory:///archive/none.npy", tmp_path)
    store.mkdir("/empty")
    with pytest.raises(InputError, match="this folder"):
        find_archive(["memory://empty"])


def test_without_ray_the_extra_is_named(tiny_path, feature_folder, tmp_path):
    program = (
        "import sys; sys.modules['ray'] = None; import importlib.util as u; f = u.find_spec\n"
        "u.find_spec = lambda n, *a: None if n == 'ray' else f(n, *a)\n"
        "from co2net_runtime.cli.archive import main; main()"
    )
    arguments = [tiny_path, feature_folder(5), "--out", tmp_path / "out"]
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr == (
        "co2net-archive: error: co2net-archive needs Ray, which is not installed: "
        "pip install 'co2net[ray]'\n"
    )
    assert main.name == "co2net-archive"


def test_the_runtime_imports_none_of_it():
    program = (
        "import sys, co2net_runtime, co2net_runtime.cli.infer_run, co2net_runtime.cli.archive\n"
        "assert not {'ray', 'pyarrow', 'pandas', 'fsspec'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
