"""Files that are whole or not there, whatever happens while they are written."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import UserError


def write_atomically(path: Path, data: bytes, kept: str) -> None:
    """Write beside the target, flush to disk, then rename: a crash leaves the old file or the new one, never half.

    Args:
        path: The target.
        data: Its bytes.
        kept: What stays valid when this fails, for the message.

    Raises:
        UserError: The disk is full, or the file cannot be written for another reason. Nothing half-written stays.
    """
    staging = path.with_name(f'.{path.name}.partial')
    try:
        with open(staging, 'wb') as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(staging, path)
    except OSError as error:
        staging.unlink(missing_ok=True)
        raise UserError(f'{path} could not be written ({error.strerror or error}); is the disk full? {kept}') from error
