"""Checkpoint files: written all or nothing, read without running any code in them."""

from __future__ import annotations

import os
import pickle
import re
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from ..errors import MISTAKES
from ..files.torch_weights.unreadable import CheckpointError

PICKLE_START = pickle.PROTO
CHECKPOINT_NAME = re.compile(r'iter_(\d+)\.pth')


def write_checkpoint(checkpoint: dict[str, Any], path: Path) -> None:
    """Write beside the target, flush to disk, then rename: a crash leaves the old file or the new one, never half.

    Raises:
        CheckpointError: The disk is full, or the file cannot be written for another reason. Nothing half-written stays.
    """
    staging = path.with_name(f'.{path.name}.partial')
    try:
        with open(staging, 'wb') as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(staging, path)
    except (OSError, RuntimeError) as error:  # torch's zip writer turns a full disk into a RuntimeError
        staging.unlink(missing_ok=True)
        reason = str(error).splitlines()[0]
        raise CheckpointError(
            f'{path} could not be written ({reason}); is the disk full? Earlier checkpoints are intact.'
        ) from error
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def load_tensors(path: str | Path) -> Any:
    """Whatever a `torch.save` file holds, on the CPU, with `weights_only=True`.

    Raises:
        CheckpointError: No such file, a truncated file, or a file that holds Python objects.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        raise CheckpointError(f'{path} is a folder; give an iter_N.pth in it.')
    if not path.is_file():
        raise CheckpointError(f'{path} does not exist.')
    try:
        if first_byte(path) not in (b'P', PICKLE_START):  # for torch it might be a tar, which it unpacks into a folder
            raise CheckpointError(f'{path} is not a checkpoint.')
        check_packing(path)
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', message='Detected pickle protocol')  # it is refused or read all the same
            return torch.load(path, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f'{path} was refused: it holds Python objects, and loading it could run code. A checkpoint of another '
            'project is imported with tools/convert.py.'
        ) from error
    except CheckpointError:
        raise
    except (
        *MISTAKES,
        EOFError,
        OSError,
        MemoryError,
        struct.error,
        zipfile.BadZipFile,
    ) as error:  # torch.load on broken archives
        raise CheckpointError(f'{path} is truncated or not a checkpoint.') from error


def check_packing(path: Path) -> None:
    """Refuse an archive that unpacks to more than it is: torch would read each entry whole.

    Raises:
        CheckpointError: It is compressed, or its entries overlap.
    """
    if first_byte(path) != b'P':
        return
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > path.stat().st_size or any(entry.compress_type for entry in entries):
        raise CheckpointError(f'{path} was refused: it is compressed, which torch.save never does; save it again.')


def first_byte(path: Path) -> bytes:
    """What tells a zip archive or a pickle from other files."""
    with open(path, 'rb') as file:
        return file.read(1)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """A checkpoint of the Runner, on the CPU.

    Raises:
        CheckpointError: See `load_tensors`; or one without `state_dict`, or with something else in its place.
    """
    checkpoint = load_tensors(path)
    if not isinstance(checkpoint, dict) or 'state_dict' not in checkpoint:
        raise CheckpointError(f"{path} has no 'state_dict'; a peer's checkpoint is imported with tools/convert.py.")
    for key in ('meta', 'state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers'):
        if not isinstance(checkpoint.get(key, {}), dict):
            raise CheckpointError(f"{path}: '{key}' is {type(checkpoint[key]).__name__}, which no run writes.")
    for name, state in (
        ('state_dict', checkpoint['state_dict']),
        ('ema_state_dict', checkpoint.get('ema_state_dict', {})),
    ):
        for key, value in state.items():
            if not isinstance(key, str) or not isinstance(value, torch.Tensor):
                raise CheckpointError(
                    f"{path}: '{name}' holds a {type(value).__name__} under {key!r}, not a tensor by name."
                )
    return checkpoint


def list_checkpoints(folder: str | Path) -> list[Path]:
    """`iter_N.pth` files of a folder, newest (largest N) first."""
    found = [
        path for path in Path(folder).glob('iter_*.pth') if CHECKPOINT_NAME.fullmatch(path.name) and path.is_file()
    ]
    return sorted(found, key=checkpoint_iteration, reverse=True)


def checkpoint_iteration(path: Path) -> int:
    """The N of an `iter_N.pth`."""
    match = CHECKPOINT_NAME.fullmatch(path.name)
    assert match is not None
    return int(match.group(1))


def newest_readable(folder: str | Path, logger: Any) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint that can be read, passing over broken ones with a warning; None where there is none.

    Raises:
        CheckpointError: There are checkpoints, and none can be read.
    """
    paths = list_checkpoints(folder)
    for path in paths:
        try:
            return path, read_checkpoint(path)
        except CheckpointError as error:
            logger.warning(f'{error} Falling back to the checkpoint before it.')
    if paths:
        raise CheckpointError(f'none of the {len(paths)} checkpoints in {folder} can be read; start without --resume.')
    return None
