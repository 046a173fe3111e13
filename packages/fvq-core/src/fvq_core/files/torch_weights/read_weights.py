"""Weights from a file of any of the usual kinds."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from torch import Tensor

from ...errors import UserError
from ..safetensors import read_safetensors
from .find_weights import candidates
from .torch_archive import read_torch_archive
from .unreadable import CheckpointError, sanitized

PICKLE_START = b'\x80'
SUFFIXES = ('.safetensors', '.bin', '.pt', '.pth', '.ckpt')


def read_weights_file(path: str | Path) -> Any:
    """The contents of a torch or safetensors file, recognised by content and not by name; no code in it runs.

    They are dicts, lists, plain values and tensors on the CPU, and an `Inert` record for each other object.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        found = sorted(each.name for each in path.iterdir() if each.suffix in SUFFIXES)
        hint = f'give one of the files in it: {", ".join(found)}' if found else 'it holds no weights'
        raise CheckpointError(f'{path} is a folder; {hint}.')
    if not path.is_file():
        raise CheckpointError(f'{path} does not exist.')
    with path.open('rb') as file:
        start = file.read(9)
    if start[8:9] == b'{':
        try:
            return read_safetensors(path)
        except UserError as error:
            raise CheckpointError(str(error)) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', DeprecationWarning)  # of escapes in a damaged text
            return read_torch_archive(path)
    except CheckpointError as error:
        if start[:1] not in (b'P', PICKLE_START):
            raise CheckpointError(f'{path} is not a checkpoint.') from error
        raise CheckpointError(f'{path} was refused: {sanitized(str(error), 200)}.') from error


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a file by name, from the first container in it that is a state dict; see `candidates`."""
    found = candidates(read_weights_file(path))
    if not found:
        raise CheckpointError(f'{path} holds no state dict.')
    return found[0].state
