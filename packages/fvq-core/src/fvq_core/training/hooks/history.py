"""`history.jsonl`: one JSON object a line for every logged training interval and every evaluation."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...files.bounded import read_bounded
from ...files.json import parse_json

MAX_BYTES = 2**30


class History:
    """Append-only, except that resuming drops what lies after the resumed iteration.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, row: dict[str, Any]) -> None:
        """Write one row; it is on disk when this returns."""
        with open(self.path, 'a') as file:
            file.write(json.dumps(row) + '\n')
            file.flush()
            os.fsync(file.fileno())

    def rows(self) -> list[dict[str, Any]]:
        """Every row that is whole; a crash may leave half a line, and a power cut NUL bytes."""
        return self._read()[0]

    def truncate(self, iteration: int) -> int:
        """Keep the rows up to an iteration.

        Returns:
            The number of lines that were damaged, and are gone.
        """
        rows, damaged = self._read()
        kept = [row for row in rows if row['iter'] <= iteration]
        staging = self.path.with_suffix('.partial')
        staging.write_text(''.join(json.dumps(row) + '\n' for row in kept))
        os.replace(staging, self.path)
        return damaged

    def _read(self) -> tuple[list[dict[str, Any]], int]:
        """The rows, and how many lines are none."""
        lines = read_bounded(self.path, MAX_BYTES, 'move it away').split(b'\n') if self.path.exists() else []
        found = [row_of(line.strip(b'\0 \r\t')) for line in lines]
        rows = [row for row in found if row is not None]
        return rows, sum(bool(line) for line in lines) - len(rows)


def row_of(line: bytes) -> dict[str, Any] | None:
    """The row that a line holds; None if it is none of ours."""
    try:
        row = parse_json(line, 'history.jsonl')
    except UserError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get('iter'), int) else None
