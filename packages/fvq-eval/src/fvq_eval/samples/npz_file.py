"""Arrays of an npz file, read in parts: memory-mapped if they are stored uncompressed, streamed if they are compressed.

`np.load` reads a whole array before it gives the first row, and 50,000 images of 256 pixels are 9.8 GB.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO

import numpy as np

from fvq_core.errors import UserError
from fvq_core.files.arrays import check_ratio, data_bytes, open_npz, read_header
from fvq_core.files.bounded import regular_size

from .crc32_combine import joined_crc

LOCAL_HEADER = 30  # bytes before the name of a member; the two lengths at its end are little-endian uint16
SKIP = 2**22  # bytes that are thrown away at once


@dataclass(frozen=True)
class Member:
    """One array of an npz.

    Attributes:
        start: Bytes of the npy header.
        size: Bytes of header and array.
        stored: Whether the bytes are in the file as they are.
        offset: Offset of the zip member's local header in the file.
        crc: CRC of header and array, from the zip.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    start: int
    size: int
    stored: bool
    offset: int
    fortran: bool
    crc: int


class NpzFile:
    """The arrays of an npz file by name; nothing is unpickled, ever.

    Raises:
        UserError: It is not an npz file, is truncated, or holds pickled objects.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        with open_npz(path) as archive:
            found = [read_entry(archive, info) for info in archive.infolist() if info.filename.endswith('.npy')]
        self.members = {member.name: member for member in found}

    def array(self, name: str) -> np.ndarray:
        """A whole array."""
        member = self.members[name]
        with open_npz(self.path) as archive, archive.open(f'{name}.npy') as stream:
            check_ratio(member.size, regular_size(self.path, 'name an .npz file'))
            stream.read(member.start)
            flat = np.frombuffer(stream.read(), member.dtype)
        return flat.reshape(member.shape, order='F' if member.fortran else 'C')

    def parts(self, name: str, ranges: Sequence[range]) -> Iterator[np.ndarray]:
        """Rows of an array, in row-major order; `ranges` ascend without overlap."""
        member = self.members[name]
        if member.stored and member.size > member.start:
            mapped = np.memmap(self.path, member.dtype, 'r', self.data_offset(member), member.shape)
            for rows in ranges:
                yield np.array(mapped[rows.start : rows.stop])
            return
        row = member.dtype.itemsize * int(np.prod(member.shape[1:], dtype=np.int64))
        with open_npz(self.path) as archive, archive.open(f'{name}.npy') as stream:
            at = skip(stream, member.start)
            for rows in ranges:
                at += skip(stream, member.start + rows.start * row - at)
                data = stream.read(len(rows) * row)
                at += len(data)
                yield np.frombuffer(data, member.dtype).reshape(len(rows), *member.shape[1:])

    def check_crc(self, name: str, crcs: Sequence[int], sizes: Sequence[int]) -> None:
        """Raise if an array is not the one that was written; `crcs` and `sizes`, in bytes, are of all its parts in order."""
        member = self.members[name]
        with open_npz(self.path) as archive, archive.open(f'{name}.npy') as stream:
            header = zlib.crc32(stream.read(member.start))
        if joined_crc([header, *crcs], [member.start, *sizes]) != member.crc:
            raise UserError(
                f"{self.path}: expected a whole npz file, got a damaged one (the CRC of '{name}' is wrong); write it again."
            )

    def data_offset(self, member: Member) -> int:
        """Offset of the first number of a stored array in the file."""
        with open(self.path, 'rb') as file:
            file.seek(member.offset)
            name, extra = struct.unpack('<HH', file.read(LOCAL_HEADER)[-4:])
        return member.offset + LOCAL_HEADER + name + extra + member.start


def read_entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    """The entry of an array, from its header; a ValueError if it is of objects or its size is not what the header says."""
    with archive.open(info) as stream:
        shape, fortran, dtype = read_header(stream)
        start = stream.tell()
    name = info.filename.removesuffix('.npy')
    if dtype.hasobject:
        raise ValueError(f"expected arrays of numbers, got pickled Python objects in '{name}', which could run code")
    if info.file_size != start + data_bytes(shape, dtype):
        raise ValueError(f"'{name}' holds fewer or more bytes than its shape {shape} says")
    stored = info.compress_type == zipfile.ZIP_STORED
    return Member(name, shape, dtype, start, info.file_size, stored, info.header_offset, fortran, info.CRC)


def skip(stream: IO[bytes], count: int) -> int:
    """Read bytes and forget them; a compressed stream has no other way forward."""
    left = count
    while left:
        left -= len(stream.read(min(left, SKIP)))
    return count
