"""Files of an earlier run in a work dir are moved away, never overwritten."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from logging import Logger
from pathlib import Path

from mmengine.dist import master_only

from .checkpoint import checkpoint_iteration, list_checkpoints
from .hooks.history import HISTORY_NAME

PREFIX = 'previous_'


def set_aside_run(work_dir: Path, logger: Logger) -> None:
    """Move the files of an earlier run away before a new one starts in its work dir."""
    old = [*list_checkpoints(work_dir), *work_dir.glob(HISTORY_NAME)]
    if old:
        old += work_dir.glob('metrics.json')
    set_aside(work_dir, old, 'the earlier run (--resume continues a run instead)', logger)


def set_aside_later(work_dir: Path, iteration: int, logger: Logger) -> None:
    """Move checkpoints away that are later than the one that is resumed."""
    later = [path for path in list_checkpoints(work_dir) if checkpoint_iteration(path) > iteration]
    set_aside(work_dir, later, 'checkpoints of later iterations', logger)


@master_only
def set_aside(work_dir: Path, files: Sequence[Path], what: str, logger: Logger) -> None:
    """Move files of a work dir into the next `previous_N` in it; only the main process does."""
    if not files:
        return
    numbers = [path.name.removeprefix(PREFIX) for path in work_dir.glob(f'{PREFIX}*')]
    folder = work_dir / f'{PREFIX}{1 + max(map(int, filter(str.isdigit, numbers)), default=0)}'
    folder.mkdir()
    for path in files:
        shutil.move(path, folder / path.name)
    logger.info(f'moved {what} to {folder}')
