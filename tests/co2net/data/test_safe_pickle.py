"""Object arrays are read without executing, or trusting, anything in the file."""

import contextlib
import io
import os
import pickle
import random
import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from co2net.data.safe_pickle import load_npy
from co2net_runtime.errors import InputError


def npy_of(payload, shape=(1,)):
    """A .npy file of objects whose pickle is `payload`."""
    file = io.BytesIO()
    header = {"descr": "|O", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + payload


def objects(*items):
    array = np.empty(len(items), dtype=object)
    for index, item in enumerate(items):
        array[index] = item
    return array


def assert_same(found, expected):
    assert type(found) is type(expected)
    if isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape
        if expected.dtype.hasobject:
            for a, b in zip(found.ravel(), expected.ravel(), strict=True):
                assert_same(a, b)
        else:
            np.testing.assert_array_equal(found, expected)
    elif isinstance(expected, (list, tuple)):
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            assert_same(a, b)
    else:
        assert found == expected


CONTENTS = objects(
    np.arange(6, dtype=np.float32).reshape(2, 3),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.arange(3, dtype=">i4"),
    np.zeros((0, 4), dtype=np.float32),
    np.array([b"ab", b""]),
    np.array(["é", "text"]),
    np.array([True, False]),
    np.array(3.5),
    objects([1, 2.5], objects("inner")),
    np.float64(2.5),
    np.bytes_(b"name"),
    [["nested", (None, True)], {"key": b"bytes", "empty": b""}],
)


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_and_plain_values_come_back_as_they_were(tmp_path, protocol):
    path = tmp_path / "file.npy"
    path.write_bytes(npy_of(pickle.dumps(CONTENTS, protocol), CONTENTS.shape))
    assert_same(load_npy(path), CONTENTS)


def test_numpys_own_files_are_read(tmp_path):
    np.save(tmp_path / "objects.npy", CONTENTS, allow_pickle=True)
    assert_same(load_npy(tmp_path / "objects.npy"), CONTENTS)
    np.save(tmp_path / "numbers.npy", np.arange(4.0))
    assert_same(load_npy(tmp_path / "numbers.npy"), np.arange(4.0))


@pytest.mark.parametrize("core", ["numpy.core", "numpy._core"])
def test_old_and_new_module_paths_are_the_same(tmp_path, core):
    payload = pickle.dumps(objects(np.float32([1, 2])), 2)
    for name in (b"numpy._core", b"numpy.core"):
        payload = payload.replace(name, core.encode())
    path = tmp_path / "file.npy"
    path.write_bytes(npy_of(payload))
    assert_same(load_npy(path), objects(np.float32([1, 2])))


def test_a_python_2_pickle_is_read(tmp_path):
    # Python 2 wrote array data and names as str; opcode U with every byte value, as it did
    data = np.array([1.5, -2.25], dtype="<f4").tobytes()
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
        b"(K\x01(K\x02tcnumpy\ndtype\n(U\x02f4K\x00K\x01tR"
        b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x08" + data + b"tb"
    )
    outer = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
        b"(K\x01(K\x02tcnumpy\ndtype\n(U\x02O8K\x00K\x01tR"
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?tb\x89](" + array + b"U\x04nameetb."
    )
    path = tmp_path / "file.npy"
    # its headers end integers in L, which numpy reads with a warning
    head = b"{'descr': '|O', 'fortran_order': False, 'shape': (2L,), }"
    head = head.ljust(117) + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + outer)
    assert_same(load_npy(path), objects(np.float32([1.5, -2.25]), "name"))


@given(
    array=hnp.arrays(
        dtype=hnp.floating_dtypes() | hnp.integer_dtypes() | hnp.unicode_string_dtypes(),
        shape=hnp.array_shapes(min_dims=0, min_side=0),
    ),
    protocol=st.integers(0, 5),
)
def test_any_plain_array_comes_back(tmp_path_factory, array, protocol):
    path = tmp_path_factory.getbasetemp() / "any.npy"
    path.write_bytes(npy_of(pickle.dumps(objects(array), protocol)))
    (found,) = load_npy(path)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


class Creates:
    """Pickles into a call that creates a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (os.mkdir, (self.path,))


def test_a_malicious_pickle_is_refused_and_not_executed(tmp_path):
    victim = tmp_path / "created"
    np.save(tmp_path / "file.npy", objects(Creates(victim)), allow_pickle=True)
    with pytest.raises(InputError, match=r"refused: its pickle asks for .*mkdir"):
        load_npy(tmp_path / "file.npy")
    assert not victim.exists()
    # the payload does work where pickles are executed
    np.load(tmp_path / "file.npy", allow_pickle=True)
    assert victim.exists()


@pytest.mark.parametrize(
    "payload",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cbuiltins\ngetattr\n(N(ttR.",
        b"cnumpy\nload\n(S'x'\ntR.",
        b"cnumpy.core.multiarray\nfromfile\n(tR.",
        b"cnumpy._core.numeric.x\n_frombuffer\n(tR.",
        b"cnumpy\nndarray.tofile\n.",
        b"c_codecs\nencode\n(S'x'\nS'zlib'\ntR.",
        b"cnumpy\ndtype\n(S'O,f8'\ntR.",
        b"cnumpy\ndtype\n(S'M8'\ntR.",
        b"cnumpy\ndtype\n(S'f8'\ntR.",
        b"\x80\x04\x8c\x05numpy\x8c\x04a\nb\x1b\x93.",
        b"\x82\x01.",
        b"Ppersistent\n.",
    ],
)
def test_whatever_else_a_pickle_names_is_refused(tmp_path, payload):
    path = tmp_path / "file.npy"
    path.write_bytes(npy_of(payload))
    with pytest.raises(
        InputError, match=r"file\.npy: (refused|its pickled content is damaged)"
    ) as e:
        load_npy(path)
    assert str(e.value).isprintable()


def test_a_crafted_dtype_state_reaches_no_memory(tmp_path):
    """numpy's own unpickling would take the item size and the fields from the file."""
    good = pickle.dumps(np.zeros(2, dtype=np.float64), 2)
    state = b"K\x03X\x01\x00\x00\x00<"
    assert state in good
    crafted = good.replace(b"NNNJ\xff\xff\xff\xff", b"NNNJ\x00\x10\x00\x00")
    path = tmp_path / "file.npy"
    path.write_bytes(npy_of(crafted))
    assert_same(load_npy(path), np.zeros(2))
    fields = good.replace(b"NNNJ\xff\xff\xff\xff", b"N)}J\x00\x10\x00\x00")
    path.write_bytes(npy_of(fields))
    with pytest.raises(InputError, match="structured dtype"):
        load_npy(path)


@pytest.mark.parametrize("keep", [0, 5, 40, 200, -1])
def test_a_truncated_file_is_named(tmp_path, keep):
    np.save(tmp_path / "file.npy", CONTENTS, allow_pickle=True)
    content = (tmp_path / "file.npy").read_bytes()
    (tmp_path / "file.npy").write_bytes(content[:keep])
    with pytest.raises(InputError, match=r"file\.npy: .*(damaged|truncated)"):
        load_npy(tmp_path / "file.npy")


def test_a_deep_or_shared_structure_ends(tmp_path):
    path = tmp_path / "file.npy"
    # each level holds the one below twice: 2**60 parts if none were recognised
    shared = []
    for _ in range(60):
        shared = [shared, shared]
    path.write_bytes(npy_of(pickle.dumps(objects(shared), 2)))
    assert len(load_npy(path)[0]) == 2
    path.write_bytes(npy_of(b"]" * 100_000 + b"a" * 99_999 + b"."))
    with pytest.raises(InputError, match="damaged"):
        load_npy(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.npy: .*No such file"):
        load_npy(tmp_path / "nothing.npy")


@pytest.mark.parametrize(
    "payload",
    [
        b"\x80\x02]r\xff\xff\xff\x7f",  # LONG_BINPUT: a memo of 2**31 entries
        b"]p2000000000\n",
        b"\x80\x04\x95\x00\x00\x00\x00\x01\x00\x00\x00N.",  # a frame of 4 GB
        b"\x80\x05\x96\x00\x00\x00\x00\x01\x00\x00\x00x.",  # a bytearray of 4 GB
        b"\x80\x04\x8e\x00\x00\x00\x00\x01\x00\x00\x00x.",  # bytes
        b"\x80\x04\x8d\x00\x00\x00\x00\x01\x00\x00\x00x.",  # text
        # one text, encoded a thousand times
        b"\x80\x02c_codecs\nencode\nq\x00X\x10\x27\x00\x00" + b"a" * 10_000 + b"q\x010"
        b"](" + b"h\x00h\x01X\x06\x00\x00\x00latin1\x86R" * 1000 + b"e.",
    ],
)
def test_a_few_bytes_cannot_take_much_memory(tmp_path, payload):
    path = tmp_path / "file.npy"
    path.write_bytes(npy_of(payload))
    tracemalloc.start()
    with pytest.raises(InputError, match=r"file\.npy: its pickled content is damaged"):
        load_npy(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e6


@pytest.mark.parametrize("protocol", range(6))
def test_mutated_pickles_raise_nothing_else(tmp_path, protocol):
    whole = npy_of(pickle.dumps(CONTENTS, protocol), CONTENTS.shape)
    path = tmp_path / "file.npy"
    source = random.Random(protocol)
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(source.choice([1, 1, 3])):
            data[source.randrange(len(data))] = source.randrange(256)
        path.write_bytes(data)
        with contextlib.suppress(InputError), warnings.catch_warnings():
            warnings.simplefilter("error")
            load_npy(path)
