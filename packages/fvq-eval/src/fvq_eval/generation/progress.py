"""What one rank has done of an image set, on the disk: a killed evaluation goes on where it was, to the same bits."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fvq_core.json_files import read_json

from ..statistics.image_set import ImageSetStatistics

SAVE_EVERY = 60.0  # seconds between saves, at least
LARGEST_SHARE = 0.05  # of the time that saving may take

logger = logging.getLogger('fvq')


class Progress:
    """Statistics of the first blocks of a rank, saved now and then with the digests of these blocks.

    The digests decide what is still true: statistics are taken up again only where every block behind them is what it
    was, so that a file that is mended or added later in the set costs nothing that is done.

    Args:
        folder: Where to keep it.
        identity: Of the image set's place, the preset, the extractor, what is kept of features, rank and number of ranks.
        every: Seconds between saves, at least; 0 saves whenever it can.
    """

    def __init__(self, folder: Path, identity: Sequence[str], every: float = SAVE_EVERY) -> None:
        self.folder, self.every = folder, every
        self.name = hashlib.sha256('\n'.join(identity).encode()).hexdigest()[:32]
        self.index = folder / f'{self.name}.json'
        self.saved_at, self.cost = time.monotonic(), 0.0

    def recall(self, statistics: ImageSetStatistics, digests: Sequence[str]) -> int:
        """Put what was saved into empty statistics; the number of this rank's blocks in them, 0 where nothing fits.

        Args:
            statistics: New ones.
            digests: Of all blocks of this rank as they are now.
        """
        kept = read_json(self.index)
        if kept is None or not kept['digests'] or kept['digests'] != list(digests[: len(kept['digests'])]):
            return 0
        try:
            with np.load(self.folder / kept['state'], allow_pickle=False) as arrays:
                state = {name: arrays[name] for name in arrays.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):
            return 0
        restore(statistics, state)
        return len(kept['digests'])

    def keep(self, statistics: ImageSetStatistics, digests: Sequence[str], now: bool = False) -> None:
        """Save if it is time, all or nothing.

        Args:
            statistics: Of the blocks so far.
            digests: Of these blocks.
            now: Whether it is time or not.
        """
        started = time.monotonic()
        wait = max(self.every, self.cost / LARGEST_SHARE) if self.every else 0.0
        if not now and started - self.saved_at < wait:
            return
        try:
            self.write(statistics, digests)
        except OSError as error:  # a full disk must not end what runs well without it
            logger.warning(f'progress is not saved in {self.folder} ({error}); free some space, or name another folder')
        self.saved_at = time.monotonic()
        self.cost = self.saved_at - started

    def write(self, statistics: ImageSetStatistics, digests: Sequence[str]) -> None:
        """Write the state, then the index that names it, then remove the state before."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f'{self.name}.{len(digests)}.npz'
        staging = path.with_suffix('.partial')
        arrays: dict[str, Any] = state_of(statistics)
        with open(staging, 'wb') as file:
            np.savez(file, **arrays)
        os.replace(staging, path)
        staging.write_text(json.dumps({'state': path.name, 'digests': list(digests)}))
        os.replace(staging, self.index)
        self.remove(path)

    def forget(self) -> None:
        """Remove what was saved: the set is done."""
        if not self.folder.is_dir():
            return
        self.index.unlink(missing_ok=True)
        self.remove()

    def remove(self, but: Path | None = None) -> None:
        """Remove saved statistics, whole or not."""
        for path in self.folder.glob(f'{self.name}.*'):
            if path not in (but, self.index):
                path.unlink()


def state_of(statistics: ImageSetStatistics) -> dict[str, np.ndarray]:
    """Everything in unfinished statistics, to the last bit."""
    state = {'numbers': torch.cat(statistics.numbers).numpy()}
    for name, moments in statistics.moments.items():
        assert moments.shift_D is not None
        parts = {'count': torch.tensor(moments.count), 'shift': moments.shift_D, 'sum': moments.sum_D}
        for key, tensor in (parts | {'products': moments.products_DD}).items():
            state[f'moments/{name}/{key}'] = tensor.cpu().numpy()
    for name, rows in statistics.rows.items():
        state[f'rows/{name}'] = torch.cat(rows).numpy()
    return state


def restore(statistics: ImageSetStatistics, state: dict[str, np.ndarray]) -> None:
    """Make empty statistics those that `state_of` described."""
    tensors = {key: torch.from_numpy(array) for key, array in state.items()}
    statistics.numbers = [tensors['numbers']]
    statistics.seen = set(tensors['numbers'].tolist())
    for name, moments in statistics.moments.items():
        own = {key: tensors[f'moments/{name}/{key}'] for key in ('count', 'shift', 'sum', 'products')}
        moments.count, moments.shift_D = int(own['count']), own['shift']
        moments.sum_D, moments.products_DD = own['sum'], own['products']
    for name in statistics.rows:
        statistics.rows[name] = [tensors[f'rows/{name}']]
