"""What one rank has done of an image set, on disk: a killed evaluation continues where it was, to the same bits."""

from __future__ import annotations

import hashlib
import logging
import secrets
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from fvq_core.errors import UserError
from fvq_core.files.arrays import read_npz, write_npz
from fvq_core.files.json import read_json, read_json_object, write_json

from ..file_above import file_above
from ..statistics.image_set import ImageSetStatistics, fetch

SAVE_EVERY = 60.0  # seconds between saves, at least
LARGEST_SHARE = 0.05  # of the time that saving may take

logger = logging.getLogger('fvq')


class StatisticsCheckpoint:
    """Statistics of the first blocks of a rank, saved now and then with the digests of these blocks.

    Saved statistics are used only if every block behind them is unchanged, so repairing or adding a file later in the set
    loses nothing. Two runs over one set may overwrite each other's index, but never half of a file: each writes under its
    own names.

    Args:
        identity: Path of the image set, preset, extractor, features that are kept, rank and number of ranks.
        every: Seconds between saves, at least; 0 saves whenever it can.
    """

    def __init__(self, folder: Path, identity: Sequence[str], every: float = SAVE_EVERY) -> None:
        self.folder, self.every = folder, every
        self.name = hashlib.sha256('\n'.join(identity).encode(errors='surrogateescape')).hexdigest()[:32]
        self.index, self.own = folder / f'{self.name}.json', f'{self.name}.{secrets.token_hex(4)}'
        self.saved_at, self.cost = time.monotonic(), 0.0

    def restore(self, statistics: ImageSetStatistics, digests: Sequence[str]) -> int:
        """Put what was saved into empty statistics, and return how many of this rank's blocks it covers.

        0 if nothing fits. A damaged checkpoint is ignored with a warning.
        """
        if not self.index.is_file():
            return 0
        try:
            kept = read_json_object(self.index)
            done, path = kept['digests'], self.folder / kept['state']
            if not done or done != list(digests[: len(done)]):
                return 0
            state = read_npz(path)
            check_state(statistics, state)
        except (ValueError, KeyError, TypeError) as error:
            logger.warning(f'{self.index}: what an unfinished evaluation saved is damaged ({error}); it starts again')
            return 0
        set_state(statistics, state)
        return len(done)

    def due(self) -> bool:
        """Whether it is time to save."""
        return time.monotonic() - self.saved_at >= (max(self.every, self.cost / LARGEST_SHARE) if self.every else 0.0)

    def save(self, statistics: ImageSetStatistics, digests: Sequence[str]) -> None:
        """Save atomically what `digests` lists."""
        started = time.monotonic()
        try:
            self.write(statistics, digests)
        except UserError as error:  # a full disk must not end what runs well without it
            logger.warning(f'progress is not saved; {remedy(self.folder)}. {error}')
        self.saved_at = time.monotonic()
        self.cost = self.saved_at - started

    def write(self, statistics: ImageSetStatistics, digests: Sequence[str]) -> None:
        """Write the state, then the index that names it, then remove earlier states."""
        before = [*self.folder.glob(f'{self.own}.*.npz'), *self.named()]
        path = self.folder / f'{self.own}.{len(digests)}.npz'
        write_npz(path, state_of(statistics), 'What was saved before is intact.')
        write_json(self.index, {'state': path.name, 'digests': list(digests)})
        for old in before:
            if old != path:
                old.unlink(missing_ok=True)

    def named(self) -> list[Path]:
        """The state that the index names, whichever run wrote it."""
        kept = read_json(self.index)
        name = kept.get('state') if isinstance(kept, dict) else None
        return [self.folder / name] if isinstance(name, str) and name.startswith(f'{self.name}.') else []

    def delete(self) -> None:
        """Remove what was saved: the set is done."""
        for path in self.folder.glob(f'*{self.name}.*'):  # also what killed writers left behind
            path.unlink(missing_ok=True)


def state_of(statistics: ImageSetStatistics) -> dict[str, np.ndarray]:
    """Everything in unfinished statistics, to the last bit."""
    state = {'numbers': torch.cat(statistics.numbers).numpy()}
    for name, moments in statistics.moments.items():
        assert moments.shift_D is not None
        parts = {'count': torch.tensor(moments.count), 'shift': moments.shift_D, 'sum': moments.sum_D}
        for key, tensor in (parts | {'products': moments.products_DD}).items():
            state[f'moments/{name}/{key}'] = tensor.cpu().numpy()
    for name, rows in statistics.rows.items():
        fetch(rows)
        state[f'rows/{name}'] = torch.cat(rows).numpy()
    return state


def check_state(statistics: ImageSetStatistics, state: dict[str, np.ndarray]) -> None:
    """Raise if a state is of other features than empty statistics."""
    count, wanted = len(state['numbers']), {'numbers': (len(state['numbers']),)}
    for name in statistics.moments:
        size = statistics.sizes[name]
        shapes = {'count': (), 'shift': (size,), 'sum': (size,), 'products': (size, size)}
        wanted |= {f'moments/{name}/{key}': shape for key, shape in shapes.items()}
    wanted |= {f'rows/{name}': (count, statistics.sizes[name]) for name in statistics.rows}
    got = {name: array.shape for name, array in state.items()}
    if got != wanted:
        raise ValueError(f'expected {", ".join(wanted)}, got {", ".join(got)} or other shapes')


def set_state(statistics: ImageSetStatistics, state: dict[str, np.ndarray]) -> None:
    """Put a state from `state_of` into empty statistics."""
    tensors = {key: torch.from_numpy(array) for key, array in state.items()}
    statistics.numbers = [tensors['numbers']]
    statistics.seen = set(tensors['numbers'].tolist())
    for name, moments in statistics.moments.items():
        own = {key: tensors[f'moments/{name}/{key}'] for key in ('count', 'shift', 'sum', 'products')}
        moments.count, moments.shift_D = int(own['count']), own['shift']
        moments.sum_D, moments.products_DD = own['sum'], own['products']
    for name in statistics.rows:
        statistics.rows[name] = [tensors[f'rows/{name}']]


def remedy(folder: Path | None) -> str:
    """What to do if nothing can be written into a folder."""
    if folder and (taken := file_above(folder)):
        return f'{taken} is a file, not a folder: name another --cache'
    return 'free some space, or name another --cache'
