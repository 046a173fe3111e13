"""Why a folder cannot be made: a file is in its way."""

from __future__ import annotations

from pathlib import Path


def file_above(path: Path) -> Path | None:
    """The file that is in the place of a folder or of one above it; None if there is none."""
    return next((above for above in (path, *path.parents) if above.is_file()), None)
