"""The part of the protobuf wire format that is needed to navigate an ONNX file."""

from collections.abc import Iterator
from dataclasses import dataclass

VARINT, FIXED64, LENGTH_DELIMITED, FIXED32 = 0, 1, 2, 5

Buffer = bytes | memoryview


class DamagedError(Exception):
    """The bytes are not a valid message."""


@dataclass(frozen=True)
class Field:
    """One field of a message in a buffer: buffer[start:end], its content buffer[content:end]."""

    number: int
    wire_type: int
    start: int
    content: int
    end: int


def fields(buffer: Buffer, start: int = 0, end: int | None = None) -> Iterator[Field]:
    """Yield the fields of the message buffer[start:end], by default all of it.

    Their content is not looked at.

    Raises DamagedError where it is none.
    """
    position = start
    end = len(buffer) if end is None else end
    while position < end:
        tag, content = read_varint(buffer, position, end)
        wire_type = tag & 7
        if wire_type == VARINT:
            _, stop = read_varint(buffer, content, end)
        elif wire_type in (FIXED64, FIXED32):
            stop = content + (8 if wire_type == FIXED64 else 4)
        elif wire_type == LENGTH_DELIMITED:
            length, content = read_varint(buffer, content, end)
            stop = content + length
        else:
            raise DamagedError
        if stop > end:
            raise DamagedError
        yield Field(tag >> 3, wire_type, position, content, stop)
        position = stop


def read_varint(buffer: Buffer, position: int, end: int) -> tuple[int, int]:
    """Return the number at `position` and the position after it."""
    value = 0
    for shift in range(0, 64, 7):
        if position >= end:
            raise DamagedError
        byte = buffer[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise DamagedError


def varint(value: int) -> bytes:
    """Return a non-negative number as a message encodes it."""
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def delimited(number: int, content: bytes) -> bytes:
    """Return a length-delimited field: a message, a string or bytes."""
    return varint(number << 3 | LENGTH_DELIMITED) + varint(len(content)) + content
