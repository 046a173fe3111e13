"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import UserError

# Remedies for errors of the system; other errors speak for themselves.
REMEDIES = {
    errno.ENOSPC: 'free some space on the disk',
    errno.EDQUOT: 'free some space in your quota',
    errno.EACCES: 'choose a folder that you may write in',
    errno.EPERM: 'choose a folder that you may write in',
    errno.EROFS: 'choose a disk that can be written',
    errno.ENOTDIR: 'a file stands where a folder should be',
}


@contextmanager
def staged(path: Path, kept: str, flush: bool = True) -> Iterator[Path]:
    """A temporary path to write to; it replaces `path` at the end of the block unless the block raises.

    The staging file is in the folder of the target and has a unique name, so that two writers never share one. A
    crash leaves the old file or the new one, never half of it; a killed process also leaves a
    `.NAME.XXXXXXXX.partial`, see `remove_leftovers`.

    Args:
        kept: A sentence for the `UserError` raised if writing fails, beside reason and remedy: what stays valid then.
        flush: Whether to flush to the disk, so that a power cut leaves no half file either; not worth the wait for
            files that can be made again.
    """
    staging = path.with_name(f'.{path.name}.{secrets.token_hex(4)}.partial')
    try:
        yield staging
        if flush:
            with open(staging, 'rb+') as file:
                os.fsync(file.fileno())
        os.replace(staging, path)
    except OSError as error:
        remedy = f'; {REMEDIES[error.errno]}' if error.errno in REMEDIES else ''
        raise UserError(f'{path} could not be written ({error.strerror or error}){remedy}. {kept}') from error
    finally:
        with contextlib.suppress(OSError):  # it is gone after a success, and harmless if it cannot be removed
            staging.unlink()


def write_atomically(path: Path, data: bytes, kept: str, flush: bool = True) -> None:
    """Write the bytes of a file through `staged`; see there for arguments and errors."""
    with staged(path, kept, flush) as staging:
        staging.write_bytes(data)


def remove_leftovers(folder: Path, name: str = '*') -> None:
    """Remove what killed writers of a file, or of any file, left in a folder. Nobody else may be writing there."""
    for leftover in folder.glob(f'.{name if name == "*" else glob.escape(name)}.*.partial'):
        leftover.unlink(missing_ok=True)
