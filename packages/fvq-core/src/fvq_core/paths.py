"""Paths as people type them and as messages show them."""

from __future__ import annotations

from pathlib import Path


def expand_home(path: str) -> str:
    """A path that starts with `~` or `~name` as an absolute one; any other, and one of an unknown user, as it is.

    A shell does this, but not in a config and not within quotes.
    """
    try:
        return str(Path(path).expanduser()) if path.startswith('~') else path
    except RuntimeError:
        return path


def printable(path: str) -> str:
    """A path for a terminal, a log or a name in a file: bytes that are not UTF-8 and control characters are escaped."""
    return path if path.isprintable() else path.encode('unicode_escape').decode()
