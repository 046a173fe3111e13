"""Files of `torch.save` read as data: the zip archives of today and the files of torch before 1.6."""

from __future__ import annotations

import io
import mmap
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .inert_pickle import read_pickle
from .known_objects import Inert
from .unreadable import CheckpointError

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LOCAL_HEADER = struct.Struct('<4s22xHH')  # of a zip entry: its signature, the lengths of its name and extra field
DTYPES = dict(Double=torch.float64, Float=torch.float32, Half=torch.float16, BFloat16=torch.bfloat16)
DTYPES |= dict(Long=torch.int64, Int=torch.int32, Short=torch.int16, Char=torch.int8, Byte=torch.uint8)
DTYPES |= dict(Bool=torch.bool, ComplexDouble=torch.complex128, ComplexFloat=torch.complex64, Untyped=torch.uint8)


def read_torch_archive(path: Path) -> Any:
    """Dicts, lists, plain values and tensors on the CPU, mapped from the file; `Inert` records for other objects.

    Raises a `CheckpointError` if it is not such a file, is damaged, states wrong sizes, or asks for a program to be run.
    """
    with path.open('rb') as file:
        try:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        except ValueError as error:
            raise CheckpointError('it is empty') from error
    return read_zip(content) if content[:4] == b'PK\x03\x04' else read_legacy(content)


def read_zip(content: mmap.mmap) -> Any:
    try:
        with zipfile.ZipFile(content) as archive:  # pyrefly: ignore[no-matching-overload]
            entries = {entry.filename: entry for entry in archive.infolist()}
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, LookupError, NotImplementedError, struct.error) as error:
        raise CheckpointError(f'its zip archive is damaged ({error})') from error
    (pickled, *others) = [name for name in entries if re.fullmatch(r'[^/]+/data\.pkl', name)] or ['']
    root = pickled.removesuffix('data.pkl')
    if not pickled or others:
        raise CheckpointError('it is a zip archive that torch.save did not write: it has no data.pkl')
    if f'{root}constants.pkl' in entries:
        raise CheckpointError('it is a TorchScript program; save the state dict of the module in it')
    if any(entry.compress_type or entry.compress_size != entry.file_size for entry in entries.values()) or sum(
        entry.file_size for entry in entries.values()
    ) > len(content):
        raise CheckpointError('its zip archive is compressed or lies about its sizes, which torch.save never does')

    def record(name: str) -> tuple[int, int]:
        """Start and end of the bytes of an entry."""
        entry = entries.get(f'{root}{name}')
        if entry is None:
            raise CheckpointError(f'it has no record {root}{name}')
        header = content[entry.header_offset : entry.header_offset + 30]
        signature, *lengths = LOCAL_HEADER.unpack(header) if len(header) == 30 else (b'', 0, 0)
        start = entry.header_offset + 30 + sum(lengths)
        if signature != b'PK\x03\x04' or start + entry.file_size > len(content):
            raise CheckpointError(f'its record {root}{name} lies outside the file')
        return start, start + entry.file_size

    if f'{root}byteorder' in entries and content[slice(*record('byteorder'))] != b'little':
        raise CheckpointError('it was written on a big-endian machine; save it again on another one')

    def storage(dtype: torch.dtype, key: str, numel: int, _view: Any) -> Tensor:
        return flat_tensor(content, dtype, numel, *record(f'data/{key}'))

    return read_object(io.BytesIO(content[slice(*record('data.pkl'))]), storage)


def read_legacy(content: mmap.mmap) -> Any:
    """A magic number, a version, facts on the system, the object, the keys of its storages, then these one after another."""
    first = read_pickle(content)
    if first != LEGACY_MAGIC:
        return first  # a plain pickle, such as a dict of NumPy arrays
    read_pickle(content), read_pickle(content)
    start = content.tell()
    dtypes: dict[str, torch.dtype] = {}

    def note(dtype: torch.dtype, key: str, _numel: int, _view: Any) -> None:
        dtypes[key] = dtype

    read_object(content, note)
    places = {}
    keys = read_pickle(content)
    position = content.tell()
    for key in keys if isinstance(keys, list) else []:
        if key not in dtypes:
            raise CheckpointError(f'its storage {key} is of no tensor')
        numel = int.from_bytes(content[position : position + 8], 'little')
        places[key] = position + 8, position + 8 + numel * dtypes[key].itemsize
        position = places[key][1]

    def storage(dtype: torch.dtype, key: str, numel: int, view: Any) -> Tensor:
        flat = flat_tensor(content, dtype, numel, *places[key])
        return flat if view is None else flat[int(view[1]) :][: int(view[2])]

    content.seek(start)
    return read_object(content, storage)


def read_object(file: Any, storage: Callable[[torch.dtype, str, int, Any], Any]) -> Any:
    """The next pickle of a file, with storages by dtype, key, number of elements, and (key, offset, size) of a view."""

    def load(persistent: Any) -> Any:
        if persistent[0] == 'module':  # the class of a module that was saved whole, with its source
            return persistent[1]
        kind, storage_type, key, _device, numel = persistent[:5]
        name = storage_type.name.rsplit('.', 1)[-1].removesuffix('Storage') if isinstance(storage_type, Inert) else ''
        if kind != 'storage' or name not in DTYPES or not isinstance(key, str):
            raise CheckpointError(f'it has a storage of an unknown kind ({name or type(storage_type).__name__})')
        return storage(DTYPES[name], key, int(numel), persistent[5] if len(persistent) > 5 else None)

    return read_pickle(file, load)


def flat_tensor(content: mmap.mmap, dtype: torch.dtype, numel: int, start: int, end: int) -> Tensor:
    """The first `numel` elements of the bytes from `start` to `end`."""
    size = numel * dtype.itemsize
    if not 0 <= size <= end - start or end > len(content):
        raise CheckpointError(
            f'a storage of {size} bytes is to lie in {min(end, len(content)) - start}; the file is truncated'
        )
    if not numel:
        return torch.empty(0, dtype=dtype)
    if start % dtype.itemsize == 0:
        return torch.frombuffer(content, dtype=dtype, count=numel, offset=start)
    return torch.frombuffer(bytearray(content[start : start + size]), dtype=dtype)
