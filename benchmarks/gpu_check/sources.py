"""The hash of sources: whether a result speaks of the code as it is."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

# Set once a result is there, so that the result must not depend on it.
PROVEN = re.compile(rb',?\s*\bproven=(True|False)\b')


def source_files(globs: Iterable[str], repo: Path) -> list[Path]:
    """The files of some globs, sorted.

    Raises:
        FileNotFoundError: A glob that matches nothing.
    """
    found: set[Path] = set()
    for glob in globs:
        matches = {path for path in repo.glob(glob) if path.is_file()}
        if not matches:
            raise FileNotFoundError(f'no file matches {glob}')
        found |= matches
    return sorted(found)


def sources_hash(globs: Iterable[str], repo: Path) -> str:
    """Of names and contents of all files, `proven=` left out."""
    digest = hashlib.sha256()
    for path in source_files(globs, repo):
        content = PROVEN.sub(b'', path.read_bytes())
        digest.update(f'{path.relative_to(repo).as_posix()} {len(content)}\n'.encode() + content)
    return digest.hexdigest()[:16]
