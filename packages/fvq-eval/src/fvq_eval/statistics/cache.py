"""Cached statistics of image sets, used again only if everything is the same."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

from fvq_core.errors import UserError

from .image_set import ImageSetStatistics
from .statistics_file import read_note


class StatisticsCache:
    """A folder of statistics, each under the hash of what it is of.

    The name of a file is the sha256 of three things: the content of the image set, the preset in words, and the extractor's
    fingerprint. The file carries the three as well, and a checksum of its arrays; one that was renamed, edited or half written
    is reported and not used.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).expanduser()

    def path(self, content: str, preset: str, fingerprint: str) -> Path:
        """Path of the statistics of a set."""
        return self.folder / f'{hashlib.sha256(note(content, preset, fingerprint).encode()).hexdigest()}.npz'

    def find(self, content: str, preset: str, fingerprint: str) -> ImageSetStatistics | None:
        """The statistics of a set; None if they are not here, with a warning if a file does not match its name."""
        path = self.path(content, preset, fingerprint)
        if not path.is_file():
            return None
        logger = logging.getLogger('fvq')
        if read_note(path) != note(content, preset, fingerprint):
            logger.warning('%s does not hold the statistics of its name; they are computed again.', path)
            return None
        try:
            return ImageSetStatistics.load(path)
        except UserError as error:
            logger.warning('%s; it is computed again.', error)
            return None

    def put(self, content: str, preset: str, statistics: ImageSetStatistics) -> Path:
        """Keep the statistics of a set."""
        if statistics.fingerprint is None:
            raise UserError('StatisticsCache: these statistics do not name their extractor; do not cache them.')
        path = self.path(content, preset, statistics.fingerprint)
        statistics.save(path, note=note(content, preset, statistics.fingerprint))
        return path


def note(content: str, preset: str, fingerprint: str) -> str:
    """What a cached file is of, in one string."""
    return json.dumps({'content': content, 'preset': preset, 'fingerprint': fingerprint})
