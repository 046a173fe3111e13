"""Opening a file that somebody else wrote: only a regular one, and no more of it than is expected."""

from __future__ import annotations

import stat
from pathlib import Path

from ..errors import UserError


def regular_size(path: str | Path, remedy: str) -> int:
    """The size of a file in bytes. Nothing is opened: opening a pipe would wait for its writer.

    Args:
        path: The file.
        remedy: What to do about it, for messages.

    Raises:
        UserError: There is no such file, or it is a folder, a pipe or a device.
    """
    try:
        return size_of(path)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise UserError(f'{path} cannot be read: {getattr(error, "strerror", None) or error}; {remedy}.') from error


def size_of(path: str | Path) -> int:
    """The same for callers that name the file themselves.

    Raises:
        OSError: See `regular_size`.
    """
    status = Path(path).stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(f'expected a file, got {"a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or a device"}')
    return status.st_size


def read_bounded(path: str | Path, most: int, remedy: str) -> bytes:
    """A whole file, refused before it is read if it has more than `most` bytes.

    Raises:
        UserError: See `regular_size`; or it is too large, or cannot be read.
    """
    size = regular_size(path, remedy)
    if size > most:
        raise UserError(f'{path} cannot be read: it has {size:,} bytes, expected at most {most:,}; {remedy}.')
    try:
        with open(path, 'rb') as file:
            return file.read(size)  # not `most`, of which as many bytes would be allocated
    except OSError as error:
        raise UserError(f'{path} cannot be read: {error.strerror or error}; {remedy}.') from error
