"""Bytes of a stream -> blocks, however they arrive and whatever they hold."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from co2net_runtime.files.npy import MAGIC
from co2net_runtime.live.block_parser import BlockParser


def npy(rows):
    file = io.BytesIO()
    np.save(file, rows)
    return file.getvalue()


def with_shape(text, dtype=b"<f4"):
    header = b"{'descr': '" + dtype + b"', 'fortran_order': False, 'shape': " + text + b", }\n"
    return MAGIC + b"\x01\x00" + len(header).to_bytes(2, "little") + header


def rows_of(arrivals):
    return [np.atleast_2d(a.rows) for a in arrivals if a.rows is not None]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=6),
    st.booleans(),
    st.lists(st.integers(1, 300), min_size=1, max_size=5),
)
def test_blocks_do_not_depend_on_how_bytes_arrive(counts, is_npy, sizes):
    rng = np.random.default_rng(0)
    blocks = [rng.random((count, 16)).astype(np.float32) for count in counts]
    data = b"".join(npy(block) if is_npy else block.tobytes() for block in blocks)
    parser, rows, place = BlockParser(16), [], 0
    while place < len(data):
        for size in sizes:
            rows += [a.rows for a in parser.feed(data[place : place + size])]
            place += size
    np.testing.assert_array_equal(np.concatenate(rows), np.concatenate(blocks))
    assert parser.unfinished() == ""


def test_it_finds_the_next_block_after_damage():
    good = np.ones((3, 16), np.float32)
    damaged = npy(good)[:40] + b"rubbish" * 9
    objects = npy(np.ones(2, np.float32)).replace(b"<f4", b"|O ")
    parser = BlockParser(16)
    arrivals = list(parser.feed(npy(good) + damaged + npy(good) + objects + npy(good)))
    assert sum(a.rows is not None and a.rows.shape == (3, 16) for a in arrivals) >= 3
    assert any(a.gap and ("no .npy block" in a.trouble or "damaged" in a.trouble) for a in arrivals)


@pytest.mark.parametrize("fortran", [False, True])
@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8"])
def test_blocks_come_as_numpy_writes_them(fortran, dtype):
    rows = np.arange(48).reshape(3, 16).astype(dtype)
    blocks = [
        np.asfortranarray(rows) if fortran else rows,
        rows[0],
        rows[None],
        rows[:, None, None],
    ]
    found = rows_of(BlockParser(16).feed(b"".join(map(npy, blocks))))
    np.testing.assert_array_equal(
        np.concatenate(found), np.concatenate([rows, rows[:1], rows, rows])
    )


@pytest.mark.parametrize(
    ("block", "missing"),
    [
        (npy(np.ones((5, 0), np.float32)), 0),
        (npy(np.ones((5, 9), np.float32)), 5),
        (npy(np.ones((5, 16), np.int64)), 5),
        (npy(np.float32(3)), 1),
        (npy(np.ones((2, 3, 16), np.float32)), 2),
    ],
)
def test_a_block_that_does_not_fit_is_left_out_by_its_header(block, missing):
    parser = BlockParser(16)
    good = np.ones((3, 16), np.float32)
    # its bytes need not be kept
    found = [a for byte in block for a in parser.feed(bytes([byte]))]
    assert len(parser._buffer) < 200
    found += parser.feed(npy(good))
    assert [a.missing for a in found if a.trouble] == [missing]
    np.testing.assert_array_equal(np.concatenate(rows_of(found)), good)
    assert not any(a.gap for a in found)


@pytest.mark.parametrize(
    "header",
    [
        with_shape(b"(1000000000, 0)"),
        with_shape(b"(0, 1000000000)"),
        with_shape(b"(18446744073709551615, 16)"),
        with_shape(b"(4611686018427387904, 4)"),
        with_shape(b"(4294967296, 4294967296)"),
        with_shape(b"(-1, 16)"),
        with_shape(b"(2.0, 16)"),
        with_shape(b"(True, 16)"),
        with_shape(b"(16777216, 16)"),
        with_shape(b"(1, 16)", b"|O"),
        with_shape(b"(1, 16)", b"no type"),
        with_shape(b"(" * 5000),
        with_shape(b"(1, 16)").replace(b"'shape'", b"1      "),
        MAGIC + b"\x02\x00\xff\xff\xff\xff",
        MAGIC + b"\x09\x00" + bytes(20),
        MAGIC * 1000,
    ],
)
def test_damaged_headers_are_left_out_up_to_the_next_block(header):
    parser = BlockParser(16)
    good = np.ones((3, 16), np.float32)
    found = list(parser.feed(header + npy(good)))
    assert [a.gap for a in found] == [True, False]
    assert f"{len(header)} bytes that are no .npy block" in found[0].trouble
    np.testing.assert_array_equal(found[1].rows, good)
    assert not parser.unfinished()


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 200), st.integers(1, 64))
def test_no_bytes_break_it(junk, place, size):
    data = npy(np.ones((2, 16), np.float32))
    data = data[:place] + junk + data[place + len(junk) :]
    parser = BlockParser(16)
    for begin in range(0, len(data), size):
        for arrival in parser.feed(data[begin : begin + size]):
            assert arrival.trouble or np.atleast_2d(arrival.rows).shape[1] == 16


def test_part_of_a_snippet_is_reported_while_it_waits():
    parser = BlockParser(16)
    assert len(list(parser.feed(bytes(4 * 16 + 5)))) == 1
    said = [parser.idle().trouble for _ in range(100)]
    assert [text for text in said if text] == [
        "waiting with 5 bytes of an unfinished snippet: raw snippets are 64 bytes, 16 float32; if "
        "yours have another width, send .npy blocks, which say their shape"
    ]
