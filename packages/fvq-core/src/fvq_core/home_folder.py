"""Paths of the user's home folder, which a shell expands and a config or a quoted argument does not."""

from __future__ import annotations

from pathlib import Path


def expand_home(path: str) -> str:
    """A path that starts with `~` or `~name` as an absolute one; any other, and one of an unknown user, as it is."""
    try:
        return str(Path(path).expanduser()) if path.startswith('~') else path
    except RuntimeError:
        return path
