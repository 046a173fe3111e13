"""Paths as people type them and as messages show them."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import UserError


def expand_home(path: str | os.PathLike[str]) -> str:
    """A path that starts with `~` or `~name`, made absolute; others, and those of unknown users, unchanged.

    A shell does this, but not in a config and not within quotes.
    """
    if not isinstance(path, str | os.PathLike):
        raise UserError(f'expected a path, got {path!r}; give it as text.')
    text = os.fspath(path)
    try:
        return str(Path(text).expanduser()) if text.startswith('~') else text
    except RuntimeError:
        return text


def check_parents(folder: Path) -> None:
    """Raise if a folder cannot be made because a file is where one of the folders above it should be."""
    above = next(path for path in folder.absolute().parents if path.exists())
    if not above.is_dir():
        raise UserError(f'{folder} cannot be made: {above} is a file; choose another folder.')


def printable(path: str) -> str:
    """A path for a terminal, a log or a file: control characters and bytes that are not UTF-8 are escaped."""
    return path if path.isprintable() else path.encode('unicode_escape').decode()
