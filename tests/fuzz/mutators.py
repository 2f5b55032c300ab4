"""Seeded damage for files: bytes, text, JSON trees, .npy headers, zip members, pickles."""

import io
import json
import random
import struct
import zipfile
from collections.abc import Callable
from typing import Any

Mutator = Callable[[bytes, random.Random], bytes]

TOKENS = (
    b"NaN", b"Infinity", b"-1", b"1e999", b"0", b"18446744073709551616", b"9" * 400, b"null",
    b"true", b'""', b"{}", b"[]", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"'", b'"', b"\\",
    b"\\ud800", b"\n", b"!!python/object/apply:os.system", b"&a [*a]", b"2024-01-01", b".inf",
)  # fmt: skip


def damage(data: bytes, rng: random.Random) -> bytes:
    """Cut, flip, overwrite, repeat or insert bytes."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        place = rng.randrange(len(found) + 1)
        end = min(len(found), place + rng.choice((1, 2, 4, 8, 64)))
        match rng.randrange(7):
            case 0:
                del found[place:]
            case 1:
                del found[place:end]
            case 2 if place < len(found):
                found[place] ^= 1 << rng.randrange(8)
            case 3:
                found[place:end] = rng.randbytes(end - place)
            case 4:
                found[place:end] = bytes([rng.choice((0, 255, 0x7F, 0x80))]) * (end - place)
            case 5:
                found[place:place] = found[place:end] * rng.choice((1, 3, 50))
            case _:
                found[place:place] = rng.choice(TOKENS)
    return bytes(found)


def swap_tokens(data: bytes, rng: random.Random) -> bytes:
    """Replace a number or a quoted word of a text by something that does not belong there."""
    marks = [n for n, byte in enumerate(data) if byte in b"0123456789\"'"]
    if not marks:
        return damage(data, rng)
    start = rng.choice(marks)
    end = start + 1
    while end < len(data) and data[end] not in b" ,:\n]}\"'":
        end += 1
    return data[:start] + rng.choice(TOKENS) + data[end:]


ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, float("nan"), float("inf"), -float("inf"), 2**31, 2**63, 2**64,
    10**400, "", "\x00", "a\nb", "x" * 5000, "\ud800", "\uff1d1", [], {}, [[]], [None], {"": None},
)  # fmt: skip


def json_tree(data: bytes, rng: random.Random) -> bytes:
    """Replace, drop, rename or nest one node of a JSON document."""
    try:
        root = {"root": json.loads(data)}
    except ValueError:
        return damage(data, rng)
    places = list(_places(root))
    parent, key = rng.choice(places)
    match rng.randrange(5):
        case 0 if isinstance(parent, dict) and parent is not root:
            del parent[key]
        case 1 if isinstance(parent, dict) and parent is not root:
            parent[str(rng.choice(ODD_VALUES))[:50]] = parent.pop(key)
        case 2:
            parent[key] = [parent[key]] * rng.choice((1, 2, 3))
        case 3:
            text = json.dumps(root["root"])
            depth = rng.choice((100, 5_000, 100_000))
            return text.replace(":", ": " + "[" * depth, 1).encode()
        case _:
            parent[key] = rng.choice(ODD_VALUES)
    return json.dumps(root["root"]).encode("utf-8", "surrogatepass")


def _places(node: Any) -> Any:
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in list(items):
        yield node, key
        if isinstance(value, dict | list):
            yield from _places(value)


SHAPES = (
    "()", "(0,)", "(0, 16)", "(16, 0)", "(1000000000, 0)", "(-1, 16)", "(18446744073709551616, 1)",
    "(1000000000, 1000000000)", "(2147483648,)", "(5, 4, 3, 2, 1)", "(5.0, 16)", "(True, 16)",
    "(5", "[5, 16]", "(" * 300 + ")" * 300, "(5, 16, )", "None", "(10**9,)",
)  # fmt: skip
DTYPES = (
    "<f2", ">f4", "<f8", "|O", "<c8", "|b1", "<i8", "|S1000000000", "<U4", "<M8[s]", "|V16",
    "f4,f4", "[('a', '<f4')]", "", "<f4'}", "\x00", "<f16",
)  # fmt: skip


def npy_header(data: bytes, rng: random.Random) -> bytes:
    """Rewrite the header of an .npy file."""
    if data[:6] != b"\x93NUMPY":
        return damage(data, rng)
    length = struct.unpack("<H", data[8:10])[0]
    body = data[10 + length :]
    shape, dtype = "(5, 16)", "<f4"
    match rng.randrange(6):
        case 0 | 1:
            shape = rng.choice(SHAPES)
        case 2:
            dtype = rng.choice(DTYPES)
        case 3:
            text = data[10 : 10 + length].decode("latin1")
            return data[:10] + damage(text.encode("latin1"), rng) + body
        case 4:
            return data[:6] + bytes([rng.randrange(256), rng.randrange(256)]) + data[8:]
        case _:
            shape, dtype = rng.choice(SHAPES), rng.choice(DTYPES)
    order = rng.choice(("False", "True", "2", "None"))
    text = f"{{'descr': '{dtype}', 'fortran_order': {order}, 'shape': {shape}, }}"
    header = text.encode("latin1")
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", min(len(header), 65535)) + header + body


def zip_member(inner: Mutator) -> Mutator:
    """Return a mutator of one member of a zip archive, or of the archive's own records."""

    def mutate(data: bytes, rng: random.Random) -> bytes:
        if rng.random() < 0.3:
            return damage(data, rng)
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                members = {name: archive.read(name) for name in archive.namelist()}
        except (zipfile.BadZipFile, OSError, EOFError):
            return damage(data, rng)
        name = rng.choice(sorted(members))
        members[name] = inner(members[name], rng)
        if rng.random() < 0.1:
            members[rng.choice(("../up.npy", "/abs.npy", "\x01.npy", name + ".npy"))] = b"x"
        if rng.random() < 0.1:
            del members[name]
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as z:
            for member, content in members.items():
                z.writestr(member, content)
        found = out.getvalue()
        return damage(found, rng) if rng.random() < 0.2 else found

    return mutate


def pickle_codes(data: bytes, rng: random.Random) -> bytes:
    """Insert opcodes that allocate, call, remember or nest."""
    codes = (
        b"r\xff\xff\xff\x3f", b"p1000000000\n", b"\x94", b"(" * 1000, b"]" * 1000, b"cos\nsystem\n",
        b"X\xff\xff\xff\x7f", b"\x8d" + b"\xff" * 8, b"B\xff\xff\xff\x7f", b"R", b"\x81", b"b",
        b"0", b".", b"h\xff", b"j\xff\xff\xff\xff", b"\x95" + b"\xff" * 8, b"\x96" + b"\xff" * 8,
        b"I" + b"9" * 5000 + b"\n", b"\x8b\xff\xff\xff\x7f", b"cbuiltins\neval\n",
    )  # fmt: skip
    place = rng.randrange(len(data) + 1)
    return data[:place] + rng.choice(codes) * rng.choice((1, 1, 3)) + data[place:]


def mix(*mutators: Mutator) -> Mutator:
    """Return a mutator that picks one of several for each input."""

    def mutate(data: bytes, rng: random.Random) -> bytes:
        return rng.choice(mutators)(data, rng)

    return mutate
