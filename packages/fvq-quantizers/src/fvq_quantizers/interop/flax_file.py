"""Parameters in flax's msgpack files, as data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.files.torch_weights import CheckpointError, read_weights_file

ARRAY, SCALAR = 1, 3  # flax's extension types
DTYPES = ('float16', 'float32', 'float64', 'int32', 'int64', 'uint8', 'bool')


def read_flax_or_torch(path: Path) -> Any:
    """What a weights file holds; one in flax's msgpack becomes a state dict whose keys are paths (`params/encoder/...`)."""
    is_map = path.is_file() and is_msgpack_map(path)
    return read_flax(path) if is_map else read_weights_file(path)


def is_msgpack_map(path: Path) -> bool:
    """Whether a file begins as a msgpack map of up to 15 text keys; a pickle, which begins alike, goes on otherwise."""
    with path.open('rb') as file:
        start = file.read(2)
    return len(start) == 2 and 0x81 <= start[0] <= 0x8F and (0xA1 <= start[1] <= 0xBF or start[1] in (0xD9, 0xDA))


def read_flax(path: Path) -> dict[str, Tensor]:
    """The arrays of a file by path.

    Raises:
        CheckpointError: A damaged file, or one with other things than maps of arrays.
        UserError: msgpack is not installed.
    """
    try:
        import msgpack
    except ImportError:
        raise UserError(f'{path} is a flax file; to read it, pip install "fvq-quantizers[flax]".') from None

    def array(code: int, data: bytes) -> Any:
        if code not in (ARRAY, SCALAR):
            raise ValueError(f'an extension of type {code}')
        shape, dtype, values = msgpack.unpackb(data, raw=False)
        if dtype not in DTYPES or len(values) != math.prod(shape) * np.dtype(dtype).itemsize:
            raise ValueError(f'{len(values):,} bytes for an array {shape} of {dtype}')
        return torch.from_numpy(np.frombuffer(bytearray(values), dtype).reshape(shape))

    try:
        content = msgpack.unpackb(path.read_bytes(), ext_hook=array, raw=False)
        return dict(flat(content))
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise CheckpointError(f'{path}: not the parameters of a flax model ({str(error)[:120]}).') from error


def flat(content: Any, prefix: str = '') -> Iterator[tuple[str, Tensor]]:
    """Arrays by path; numbers and texts (steps, names) are left out."""
    if isinstance(content, Tensor):
        yield prefix, content
    elif isinstance(content, Mapping):
        for key, value in content.items():
            if not isinstance(key, str):
                raise ValueError(f'the key {key!r}')
            yield from flat(value, f'{prefix}/{key}' if prefix else key)
    elif not isinstance(content, str | int | float | None):
        raise ValueError(f'a {type(content).__name__}')
