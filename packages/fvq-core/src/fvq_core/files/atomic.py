"""Files that are whole or not there, whatever happens while they are written."""

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

# What to do about an error of the system; others speak for themselves.
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
    """Somewhere to write what becomes `path` at the end of the block, if nothing went wrong in it.

    The staging file lies beside the target under a name of its own, so that two writers never share one. A crash leaves the
    old file or the new one, never half; a killed process also a `.NAME.XXXXXXXX.partial`, see `remove_leftovers`.

    Args:
        path: The target.
        kept: What stays valid when this fails, for the message.
        flush: To the disk, so that a power cut leaves no half either; not worth a wait where a file can be made again.

    Raises:
        UserError: The file cannot be written: what the system says, and what to do. Nothing half-written stays.
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
        with contextlib.suppress(OSError):  # it is gone after a success; where it cannot be removed, it is harmless
            staging.unlink()


def write_atomically(path: Path, data: bytes, kept: str, flush: bool = True) -> None:
    """Write the bytes of a file by way of `staged`, whose arguments and errors these are."""
    with staged(path, kept, flush) as staging:
        staging.write_bytes(data)


def file_above(path: Path) -> Path | None:
    """The file that stands where a folder, or one above it, should be; None where none does."""
    return next((above for above in (path, *path.parents) if above.is_file()), None)


def remove_leftovers(folder: Path, name: str = '*') -> None:
    """Remove what killed writers of a file, or of any file, left in a folder. Nobody may be writing there."""
    for leftover in folder.glob(f'.{name if name == "*" else glob.escape(name)}.*.partial'):
        leftover.unlink(missing_ok=True)
