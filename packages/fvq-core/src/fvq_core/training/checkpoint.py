"""Checkpoint files: written all or nothing, read without running any code in them."""

from __future__ import annotations

import os
import pickle
import re
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any, Literal

import torch

from ..errors import BAD_VALUE_ERRORS, UserError
from ..files.atomic import staged
from ..files.format_version import check_format_version
from ..files.torch_weights.unreadable import CheckpointError

ZIP_START = b'P'
NAME = re.compile(r'iter_\d+\.pth')


def write_checkpoint(checkpoint: dict[str, Any], path: Path) -> None:
    """Write a checkpoint all or nothing, and flush it and its folder to the disk; a `CheckpointError` if that fails."""
    try:
        with staged(path, 'Is the disk full? Earlier checkpoints are intact.') as staging:
            try:
                with open(staging, 'wb') as file:
                    torch.save(checkpoint, file)
            except RuntimeError as error:  # what torch's zip writer makes of a full disk
                raise OSError(str(error).splitlines()[0]) from error
    except UserError as error:
        raise CheckpointError(str(error)) from error
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def load_tensors(path: str | Path) -> Any:
    """The contents of a `torch.save` file, on the CPU, with `weights_only=True`; a `CheckpointError` if that fails."""
    path = Path(path).expanduser()
    if path.is_dir():
        raise CheckpointError(f'{path} is a folder; give an iter_N.pth in it.')
    if not path.is_file():
        raise CheckpointError(f'{path} does not exist.')
    try:
        with open(path, 'rb') as file:
            start = file.read(1)
        if start not in (ZIP_START, pickle.PROTO):  # torch might take it for a tar and unpack it into a folder
            raise CheckpointError(f'{path} is not a checkpoint; give an iter_N.pth, or the folder of a saved model.')
        if start == ZIP_START:
            check_packing(path)
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', message='Detected pickle protocol')  # it is refused or read anyway
            return torch.load(path, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f'{path} was refused: it holds Python objects, and loading it could run code. A checkpoint of another '
            'project is imported with tools/convert.py.'
        ) from error
    except CheckpointError:
        raise
    except (*BAD_VALUE_ERRORS, EOFError, OSError, MemoryError, struct.error, zipfile.BadZipFile) as error:
        raise CheckpointError(f'{path} is truncated or not a checkpoint.') from error


def check_packing(path: Path) -> None:
    """Raise if an archive is compressed or its entries overlap: torch would read each entry whole."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > path.stat().st_size or any(entry.compress_type for entry in entries):
        raise CheckpointError(f'{path} was refused: it is compressed, which torch.save never does; save it again.')


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """A checkpoint of the Runner, on the CPU; a `CheckpointError` if it is not one, a `UserError` if of another version."""
    checkpoint = load_tensors(path)
    if not isinstance(checkpoint, dict) or 'state_dict' not in checkpoint:
        raise CheckpointError(f"{path} has no 'state_dict'; a peer's checkpoint is imported with tools/convert.py.")
    for key in ('meta', 'state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers'):
        if not isinstance(checkpoint.get(key, {}), dict):
            raise CheckpointError(f"{path}: '{key}' is {type(checkpoint[key]).__name__}, which no run writes.")
    if 'fvq_version' in (meta := checkpoint.get('meta', {})):
        check_format_version(meta.get('format_version'), path, 'train again with tools/train.py')
    for name in ('state_dict', 'ema_state_dict'):
        for key, value in checkpoint.get(name, {}).items():
            if not isinstance(key, str) or not isinstance(value, torch.Tensor):
                raise CheckpointError(
                    f"{path}: '{name}' holds a {type(value).__name__} under {key!r}, not a tensor by name."
                )
    return checkpoint


def choose_weights(
    checkpoint: dict[str, Any], source: str, weights: Literal['ema', 'raw'] | None, remedy: str
) -> tuple[dict[str, torch.Tensor], str]:
    """The moving average of a checkpoint if it has one, else or with `'raw'` the weights as trained, and which it is.

    The second value follows the checkpoint's name in messages and stamps; it is empty if there is no choice.
    """
    average = checkpoint.get('ema_state_dict')
    if weights == 'ema' and average is None:
        raise UserError(f'{source} has no moving average; {remedy}.')
    if average is None:
        return checkpoint['state_dict'], ''
    return (checkpoint['state_dict'], ' (raw weights)') if weights == 'raw' else (average, ' (moving average)')


def list_checkpoints(folder: str | Path) -> list[Path]:
    """`iter_N.pth` files of a folder, newest (largest N) first."""
    found = [path for path in Path(folder).glob('iter_*.pth') if NAME.fullmatch(path.name) and path.is_file()]
    return sorted(found, key=checkpoint_iteration, reverse=True)


def checkpoint_iteration(path: Path) -> int:
    """The N of an `iter_N.pth`."""
    return int(path.stem.removeprefix('iter_'))


def newest_readable(folder: str | Path, logger: Any) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint that can be read, skipping broken ones with a warning; None without any, raises if all are."""
    paths = list_checkpoints(folder)
    for path in paths:
        try:
            return path, read_checkpoint(path)
        except CheckpointError as error:
            logger.warning(f'{error} Falling back to the checkpoint before it.')
    if paths:
        raise CheckpointError(f'none of the {len(paths)} checkpoints in {folder} can be read; start without --resume.')
    return None
