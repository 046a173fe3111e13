"""The folder of a report, and tables in it as CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fvq_core.errors import UserError


def make_folder(out: str) -> Path:
    """The folder of `--out`, created if missing."""
    folder = Path(out)
    if folder.is_file():
        raise UserError(f'--out {out} is a file; name a folder.')
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Rows under the union of their keys, in order of appearance."""
    rows = list(rows)
    with open(path, 'w', newline='') as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)
