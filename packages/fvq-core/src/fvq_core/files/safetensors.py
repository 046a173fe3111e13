"""Reading safetensors files: a JSON header, and tensors whose offsets are checked against the size of the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import UserError
from .bounded import regular_size

LENGTH = 8  # bytes that give the header's length, little-endian
DAMAGED = (SafetensorError, OSError, ValueError, LookupError, RuntimeError, TypeError, OverflowError, MemoryError)


@contextmanager
def open_safetensors(path: str | Path, remedy: str = 'write it again') -> Iterator[Any]:
    """A safetensors file, mapped into memory; `keys()` and `get_tensor(key)` read it on the CPU and raise if it is damaged."""
    size = regular_size(path, remedy)
    try:
        with open(path, 'rb') as file:
            header = int.from_bytes(file.read(LENGTH), 'little')
        if size < LENGTH or header > size - LENGTH:
            raise ValueError(f'its header claims {header:,} bytes, the file has {size:,}')
        with safe_open(path, 'pt') as opened:
            yield opened
    except UserError:
        raise
    except DAMAGED as error:
        reason = ' '.join(str(error).split())[:200]
        raise UserError(f'{path} cannot be read as safetensors: {reason}; {remedy}.') from error


def read_safetensors(path: str | Path, remedy: str = 'write it again') -> dict[str, Tensor]:
    """All tensors of a safetensors file by name, on the CPU; raises as `open_safetensors` does."""
    with open_safetensors(path, remedy) as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
