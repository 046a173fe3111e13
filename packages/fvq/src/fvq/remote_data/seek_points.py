"""Places of a stream that reading can start at, kept in a cache: they save time, and exactness never depends on them."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from pathlib import Path
from typing import Any

from fvq_core.errors import UserError
from fvq_core.files.bounded import read_bounded
from fvq_core.files.json import parse_json

MAX_BYTES = 2**28
logger = logging.getLogger('fvq')


class SeekPoints:
    """The places of one lane: after how many images, and what `Lane` needs to read on from there.

    Args:
        folder: Where they are kept; None for `fvq/streams` in the user's cache.
        identity: What the order of images depends on; another order has another file.
    """

    def __init__(self, folder: str | None, identity: str) -> None:
        cache = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
        name = hashlib.sha256(identity.encode()).hexdigest()[:32]
        self.path = Path(folder or cache / 'fvq' / 'streams') / f'{name}.jsonl'
        self.points: dict[int, dict[str, Any]] = {}
        self.writable = True
        for line in self._lines():
            point = parse(line)
            if point is not None:
                self.points[point['count']] = point

    def _lines(self) -> list[bytes]:
        try:
            return read_bounded(self.path, MAX_BYTES, 'remove it').splitlines() if self.path.exists() else []
        except (OSError, UserError):  # a cache: without it, streams are read from their beginning
            return []

    def add(self, point: dict[str, Any]) -> None:
        """Keep a place, `count` images into the lane. A cache that cannot be written costs a warning."""
        if point['count'] in self.points or not self.writable:
            return
        self.points[point['count']] = point
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, 'a') as file:  # one write, so that processes that share a lane do not mix their lines
                file.write(json.dumps(point) + '\n')
        except OSError as error:
            self.writable = False
            logger.warning(f'places of a stream are not kept ({error}); a resumed run reads it from its beginning')

    def before(self, count: int) -> dict[str, Any] | None:
        """The last place that is at most `count` images into the lane; None if there is none."""
        known = [each for each in self.points if each <= count]
        return self.points[max(known)] if known else None


def parse(line: bytes) -> dict[str, Any] | None:
    """A place; None for a damaged line."""
    try:
        point = parse_json(line, 'a place of a stream')
    except UserError:
        return None
    numbers = ('count', 'epoch', 'shard', 'raw')
    whole = isinstance(point, dict) and all(isinstance(point.get(key), int) and point[key] >= 0 for key in numbers)
    return point if whole else None
