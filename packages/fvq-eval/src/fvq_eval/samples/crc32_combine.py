"""The CRC-32 of bytes in a row from those of their parts, which different processes read."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import cache

BITS = 32


def joined_crc(crcs: Sequence[int], sizes: Sequence[int]) -> int:
    """What `zlib.crc32` gives for the parts one after another.

    A CRC is linear over bits: that of A and B together is that of A followed by as many zeros as B has bytes, xor that of B.
    """
    whole = 0
    for crc, size in zip(crcs, sizes, strict=True):
        moved = after_zeros(size)
        for bit in range(BITS):
            if whole >> bit & 1:
                crc ^= moved[bit]
        whole = crc
    return whole


@cache
def after_zeros(size: int) -> tuple[int, ...]:
    """What each bit of a CRC becomes when so many zero bytes follow."""
    zeros = bytes(size)
    of_zeros = zlib.crc32(zeros)
    return tuple(zlib.crc32(zeros, 1 << bit) ^ of_zeros for bit in range(BITS))
