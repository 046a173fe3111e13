"""The files that runs leave, found below a folder."""

from __future__ import annotations

import re
from pathlib import Path

# Folders of a work dir that hold other runs: those before it, and the second half of a smoke run.
SET_ASIDE = re.compile(r'previous_\d+|resumed')


def run_files(folder: Path, pattern: str) -> list[Path]:
    """Files in and below a folder whose name fits a pattern, sorted, without those of runs that were set aside."""
    found = sorted(folder.rglob(pattern))
    return [file for file in found if not any(map(SET_ASIDE.fullmatch, file.parent.relative_to(folder).parts))]
