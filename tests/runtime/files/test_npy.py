"""Every byte of a file is the file's own fault: InputError, and nothing allocated before."""

import contextlib
import io
import random
import struct
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from co2net_runtime.errors import InputError
from co2net_runtime.files.npy import check_not_cut, map_npy, parse_header, parse_npy, read_npz


def npy(array):
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def announcing(text, body=b""):
    header = text.encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body


def header(shape, descr="<f4"):
    return f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"


@given(
    hnp.arrays(st.sampled_from(["<f2", ">f4", "<f8", "i1", "?", "<U3", "S2"]), hnp.array_shapes())
)
def test_numpy_s_own_files_come_back(array):
    for each in (array, np.asfortranarray(array)):
        found = parse_npy(npy(each), "here")
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)


def test_files_of_python_2_and_other_writers_are_read(tmp_path):
    body = np.arange(6, dtype=np.float32).tobytes()
    for text in (
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 3L), }          \n",
        '{"shape": (2, 3), "fortran_order": False, "descr": "<f4"}',
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert parse_npy(announcing(text, body), "here").shape == (2, 3)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (announcing("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 128, }"), "header"),
        (announcing("{1: 2, " + header((3, 4))[1:]), "damaged header"),
        (announcing("-" * 9000), "damaged header"),
        (announcing("(" * 9000), "damaged header"),
        (announcing(header("(-3, 4)")), "damaged header"),
        (announcing(header("(3, True)")), "damaged header"),
        (announcing(header((3, 4), "<f4,<f4")), "dtype '<f4,<f4'"),
        (announcing(header((3, 4), "f9")), "dtype 'f9'"),
        (announcing(header((3, 4), "<U99999999")), "announces"),
        (announcing(header((2**62, 2**62))), "no file holds"),
        (announcing(header((1 << 40, 4)), b"abc"), "announces an array of shape .* 3 follow"),
        (announcing(header((10**9, 0))), "of nothing"),
        (announcing(header((10**9, 1), "<U0")), "of nothing"),
        (announcing(header((3,), "|O"), b"\x80\x04."), "an object array"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff", "a header of 4294967295 bytes"),
        (b"\x93NUMPY\x07\x00\x10\x00\x00\x00", "7.0 that does not exist"),
        (b"\x93NUM", "truncated"),
        (b"GIF89a", "not a .npy array"),
    ],
)
def test_damaged_headers_are_refused_before_anything_is_allocated(tmp_path, data, text):
    (tmp_path / "v.npy").write_bytes(data)
    for read in (lambda: parse_npy(data, "v.npy"), lambda: map_npy(tmp_path / "v.npy")):
        with pytest.raises(InputError, match=rf"v\.npy: .*{text}"):
            read()


def test_a_header_that_goes_on_is_waited_for():
    data = npy(np.ones((3, 4)))
    assert parse_header(data[:3]) is None
    assert parse_header(data[:40]) is None
    assert parse_header(data).shape == (3, 4)


def archive(*members, compression=zipfile.ZIP_DEFLATED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as opened, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a name that is there twice
        for name, data in members:
            opened.writestr(name, data)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (archive(("a.npy", npy(np.ones(3))), ("a.npy", npy(np.ones(4)))), "a.npy twice"),
        (archive(("a.npy", npy(np.ones(3))), compression=zipfile.ZIP_LZMA), "method 14"),
        (archive(("a.npy", npy(np.ones(3))), compression=zipfile.ZIP_BZIP2), "method 12"),
        (archive(("a.npy", npy(np.ones(3))[:-1])), "announces"),
        (archive(("a.npy", npy(np.array([{}], object)))), "object array"),
        (archive(("a.npy", npy(np.zeros(1 << 26)))), "not an array of features"),
        (b"PK\x05\x06" + bytes(10), "damaged or truncated"),
        (b"", "damaged or truncated"),
    ],
)
def test_archives_that_are_no_features_are_refused(tmp_path, data, text):
    (tmp_path / "v.npz").write_bytes(data)
    tracemalloc.start()
    with pytest.raises(InputError, match=rf"v\.npz: .*{text}"):
        read_npz(tmp_path / "v.npz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


def test_an_encrypted_member_is_named(tmp_path):
    data = bytearray(archive(("a.npy", npy(np.ones(3)))))
    data[6] |= 1
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "v.npz").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.npy: encrypted"):
        read_npz(tmp_path / "v.npz")


@pytest.mark.parametrize("name", ["v.npy", "v.npz"])
def test_mutated_files_raise_nothing_else(tmp_path, name):
    array = np.ones((5, 3), np.float32)
    whole = npy(array)
    if name == "v.npz":
        whole = archive(("rgb.npy", whole), ("flow.npy", whole))
    path = tmp_path / name
    source = random.Random(0)
    refused = []
    for _ in range(600):
        data = bytearray(whole)
        for _ in range(source.choice([1, 1, 2, 8])):
            data[source.randrange(len(data))] = source.randrange(256)
        if source.random() < 0.3:
            data = data[: source.randrange(len(data))]
        path.write_bytes(data)
        with contextlib.suppress(InputError):
            np.array(map_npy(path) if name == "v.npy" else list(read_npz(path).values()), object)
            continue
        with pytest.raises(InputError) as caught:
            map_npy(path) if name == "v.npy" else read_npz(path)
        refused.append(str(caught.value))
    assert len(refused) > 100
    assert all(text.startswith(str(path)) and "\n" not in text for text in refused)


def test_a_file_that_was_cut_under_its_map_is_named(tmp_path):
    path = tmp_path / "v.npy"
    np.save(path, np.ones((3000, 4), np.float32))
    mapped = map_npy(path)
    check_not_cut(mapped, "here")
    with path.open("r+b") as file:
        file.truncate(5000)
    with pytest.raises(InputError, match="here: the file was cut"):
        check_not_cut(mapped, "here")
    with pytest.raises(InputError, match="here: the file was cut"):
        check_not_cut(mapped.reshape(3000, 1, 4)[:, 0], "here")
