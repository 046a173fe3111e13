"""`history.jsonl`: one JSON object per line for every logged training interval and every evaluation."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...files.atomic import write_atomically
from ...files.bounded import read_bounded
from ...files.json import parse_json

HISTORY_NAME = 'history.jsonl'  # in a work dir
MAX_BYTES = 2**30


class History:
    """Append-only, except that resuming drops the rows after the resumed iteration."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, row: dict[str, Any]) -> None:
        """Write one row and flush it to the disk."""
        with open(self.path, 'a') as file:
            file.write(json.dumps(row) + '\n')
            file.flush()
            os.fsync(file.fileno())

    def rows(self) -> list[dict[str, Any]]:
        """All intact rows; a crash may leave half a line, and a power cut NUL bytes."""
        return self._read()[0]

    def truncate(self, iteration: int) -> int:
        """Keep the rows up to an iteration; returns the number of damaged lines, which are dropped."""
        rows, damaged = self._read()
        text = ''.join(json.dumps(row) + '\n' for row in rows if row['iter'] <= iteration)
        write_atomically(self.path, text.encode(), 'The history is unchanged.')
        return damaged

    def _read(self) -> tuple[list[dict[str, Any]], int]:
        """The rows, and the number of damaged lines."""
        lines = read_bounded(self.path, MAX_BYTES, 'move it away').split(b'\n') if self.path.exists() else []
        found = [row_of(line.strip(b'\0 \r\t')) for line in lines]
        rows = [row for row in found if row is not None]
        return rows, sum(bool(line) for line in lines) - len(rows)


def row_of(line: bytes) -> dict[str, Any] | None:
    """The row that a line holds; None if it is damaged."""
    try:
        row = parse_json(line, 'history.jsonl')
    except UserError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get('iter'), int) else None
