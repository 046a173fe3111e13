"""`history.jsonl`: one JSON object a line for every logged training interval and every evaluation."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


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

    def rows(self) -> list[dict[str, Any]]:
        """Every complete row; a last line cut off by a crash is ignored."""
        if not self.path.exists():
            return []
        complete = [line for line in self.path.read_text().splitlines(keepends=True) if line.endswith('\n')]
        return [json.loads(line) for line in complete]

    def truncate(self, iteration: int) -> None:
        """Keep the rows up to an iteration."""
        kept = [row for row in self.rows() if row['iter'] <= iteration]
        staging = self.path.with_suffix('.partial')
        staging.write_text(''.join(json.dumps(row) + '\n' for row in kept))
        os.replace(staging, self.path)
