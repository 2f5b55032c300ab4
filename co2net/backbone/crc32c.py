"""CRC-32C (Castagnoli) of arrays in numpy: many stretches at once, then joined.

A CRC that starts at 0 is linear over GF(2): zeros in front change nothing, and the CRC of two
stretches follows from their CRCs, the first one shifted over the length of the second.
"""

from functools import cache

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint32]

POLYNOMIAL = 0x82F63B78  # reflected
STEPS = 64  # 32-bit words of one stretch
ALL_ONES = 0xFFFFFFFF
MASK_DELTA = 0xA282EAD8


def crc32c(data: npt.NDArray[np.uint8]) -> int:
    """Return the CRC-32C of bytes (n,).

    Example:
        >>> hex(crc32c(np.frombuffer(b"123456789", np.uint8)))
        '0xe3069283'
    """
    # the initial value, all ones, shifted over the message
    start = np.array([ALL_ONES], np.uint32)
    for level in range(data.size.bit_length()):
        if data.size >> level & 1:
            start = _shift(start, level)
    return (_linear(data) ^ int(start[0])) ^ ALL_ONES


def masked_crc32c(array: npt.NDArray[np.float32]) -> int:
    """Return the masked CRC-32C of an array's little-endian numbers in C order.

    So TensorFlow's checkpoint index stores it.
    """
    numbers = np.ascontiguousarray(array, dtype="<f4")
    crc = crc32c(numbers.reshape(-1).view(np.uint8))
    return ((crc >> 15 | crc << 17) + MASK_DELTA) & ALL_ONES


def _linear(data: npt.NDArray[np.uint8]) -> int:
    """Return the CRC that starts at 0 and is not inverted at the end."""
    stretches = 1
    while stretches * STEPS * 4 < data.size:
        stretches *= 2
    padded = np.zeros(stretches * STEPS * 4, np.uint8)
    padded[padded.size - data.size :] = data
    columns = np.ascontiguousarray(padded.view("<u4").reshape(stretches, STEPS).T)
    crc = np.zeros(stretches, np.uint32)
    for column in columns:
        crc = _shift(crc ^ column, 2)
    level = (STEPS * 4).bit_length() - 1
    while crc.size > 1:
        crc = _shift(crc[::2], level) ^ crc[1::2]
        level += 1
    return int(crc[0])


def _shift(crc: Words, level: int) -> Words:
    """Shift CRCs over 2**level zero bytes."""
    tables = _tables(level)
    shifted: Words = (
        tables[0][crc & 255]
        ^ tables[1][crc >> 8 & 255]
        ^ tables[2][crc >> 16 & 255]
        ^ tables[3][crc >> 24]
    )
    return shifted


@cache
def _tables(level: int) -> Words:
    """Return (4, 256): what each byte of a CRC becomes over 2**level zero bytes."""
    if level:
        return _shift(_shift(_identity(), level - 1), level - 1)
    crc = _identity()
    for _bit in range(8):
        crc = np.where(crc & 1, crc >> 1 ^ np.uint32(POLYNOMIAL), crc >> 1)
    return crc


def _identity() -> Words:
    return np.arange(256, dtype=np.uint32)[None] << np.array([[0], [8], [16], [24]], np.uint32)
