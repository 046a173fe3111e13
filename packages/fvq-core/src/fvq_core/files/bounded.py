"""Opening files that somebody else wrote: only regular files, and within a size limit."""

from __future__ import annotations

import stat
from pathlib import Path

from ..errors import UserError


def regular_size(path: str | Path, remedy: str) -> int:
    """The size of a file in bytes; a UserError if it is missing, or is a folder, a pipe or a device.

    Nothing is opened: opening a pipe would wait for its writer.
    """
    try:
        return size_of(path)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise UserError(f'{path} cannot be read: {getattr(error, "strerror", None) or error}; {remedy}.') from error


def size_of(path: str | Path) -> int:
    """`regular_size` with an OSError, for callers that name the file in their own messages."""
    status = Path(path).stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(f'expected a file, got {"a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or a device"}')
    return status.st_size


def read_bounded(path: str | Path, most: int, remedy: str) -> bytes:
    """The contents of a file; a UserError if it has more than `most` bytes, or cannot be read."""
    size = regular_size(path, remedy)
    if size > most:
        raise UserError(f'{path} cannot be read: it has {size:,} bytes, expected at most {most:,}; {remedy}.')
    try:
        with open(path, 'rb') as file:
            return file.read(size)  # not `most`, of which as many bytes would be allocated
    except OSError as error:
        raise UserError(f'{path} cannot be read: {error.strerror or error}; {remedy}.') from error
