"""`.npy` and `.npz` files: their headers are checked against the bytes there are, and nothing is unpickled."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any, Literal

import numpy as np

from ..errors import UserError
from .atomic import staged
from .bounded import regular_size, size_of

# A few arrays of zeros may be small on the disk; more than that is meant to fill the memory.
FREE_BYTES, MAX_RATIO = 2**28, 16
MAX_HEADER, PIECE = 2**14, 2**22
# What NumPy and zipfile raise on damaged files.
DAMAGED = (
    *(OSError, ValueError, EOFError, LookupError, OverflowError, SyntaxError, TypeError, TokenError, RecursionError),
    *(MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error),  # RuntimeError: an encrypted or unknown zip
)


def read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, column-major order and dtype from the start of `.npy` data; the stream is then at the first number.

    A header that is damaged or has impossible sizes is a ValueError.
    """
    try:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
        elif version in ((2, 0), (3, 0)):
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(stream, max_header_size=MAX_HEADER)
        else:
            raise ValueError(f'version {version} of the npy format is not known')
    except DAMAGED as error:
        raise ValueError(' '.join(str(error).split())[:200] or type(error).__name__) from error
    if any(type(side) is not int or side < 0 for side in shape):
        raise ValueError(f'no array can have the shape {shape}')
    return shape, fortran, dtype


def data_bytes(shape: Sequence[int], dtype: np.dtype) -> int:
    """Bytes of an array; a Python integer, which does not overflow."""
    return math.prod(shape) * dtype.itemsize


def map_npy(path: str | Path, mode: Literal['r', 'c'] = 'r') -> np.ndarray:
    """The array of a `.npy` file, mapped into memory: read-only (`'r'`), or changes do not reach the file (`'c'`).

    Raises:
        ValueError: It is damaged, holds objects, or has fewer bytes than its header says. Callers name the file.
        OSError: It is missing or not a file, or cannot be opened.
    """
    shape, fortran, dtype, start = npy_position(path)
    if not data_bytes(shape, dtype):
        return np.zeros(shape, dtype)  # nothing to map
    return np.memmap(path, dtype, mode, start, shape, 'F' if fortran else 'C')


def npy_position(path: str | Path) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Shape, column-major order and dtype of a `.npy` file, and the byte at which its numbers start."""
    size = size_of(path)
    with open(path, 'rb') as file:
        stream = io.BytesIO(file.read(MAX_HEADER))  # a header may claim gigabytes
    shape, fortran, dtype = read_header(stream)
    start = stream.tell()
    if dtype.hasobject:
        raise ValueError('it holds Python objects, which are never read')
    if data_bytes(shape, dtype) > size - start:
        raise ValueError(f'it has {size:,} bytes, too few for {dtype} of shape {shape}')
    return shape, fortran, dtype, start


def read_npz(path: str | Path, wanted: Callable[[str], bool] = lambda name: True) -> dict[str, np.ndarray]:
    """Those arrays of a `.npz` file whose name is `wanted`, by name; of others only the names are read.

    Raises if it is damaged, holds objects, or would need far more memory than it has bytes.
    """
    with open_npz(path) as archive:
        members = [each for each in archive.infolist() if wanted(each.filename.removesuffix('.npy'))]
        check_ratio(sum(member.file_size for member in members), size_of(path))
        return {each.filename.removesuffix('.npy'): read_member(archive, each) for each in members}


def write_npz(path: Path, arrays: Mapping[str, Any], kept: str) -> None:
    """Write arrays by name through `staged`, without a flush; a missing folder is made. `kept` stays valid if that fails."""
    with staged(path, kept, flush=False) as staging:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(staging, 'wb') as file:
            np.savez(file, **arrays)


@contextmanager
def open_npz(path: str | Path) -> Iterator[zipfile.ZipFile]:
    """An `.npz` file; whatever is wrong with it becomes a UserError that names it."""
    regular_size(path, 'name an .npz file')
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except DAMAGED as error:
        reason = ' '.join(str(error).split())[:200]
        raise UserError(f'{path} cannot be read as npz: {reason}; write it again.') from error


def check_ratio(unpacked: int, packed: int) -> None:
    """Raise a ValueError if arrays are small on the disk and huge in memory."""
    if unpacked > max(FREE_BYTES, MAX_RATIO * packed):
        raise ValueError(f'{unpacked:,} bytes packed into {packed:,}')


def read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """An array of a zip; a ValueError as in `read_header`, or if its size is not what its header says."""
    with archive.open(member) as stream:
        shape, fortran, dtype = read_header(stream)
        if dtype.hasobject:
            raise ValueError(f"'{member.filename}' holds Python objects, which are never read")
        if stream.tell() + data_bytes(shape, dtype) != member.file_size:
            raise ValueError(f"'{member.filename}' holds fewer or more bytes than its shape {shape} says")
        data = bytearray()  # torch wants arrays that can be written
        while piece := stream.read(PIECE):  # to the end, where zipfile checks the CRC
            data += piece
    flat = np.frombuffer(data, dtype) if data else np.zeros(0, dtype)
    return flat.reshape(shape, order='F' if fortran else 'C')
