"""How the images of an iteration are divided over processes and micro-batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def global_batch(cfg: Mapping[str, Any], processes: int) -> int:
    """Images of an iteration of a config: batch size x processes x micro-batches."""
    loader, loop = cfg.get('train_dataloader') or {}, cfg.get('train_cfg') or {}
    return loader.get('batch_size', 0) * processes * loop.get('accumulate', 1)


def split_batch(cfg: Mapping[str, Any], images: int, processes: int) -> tuple[int, int]:
    """Batch size and micro-batches that give an iteration `images` images, with no larger batch than the config's.

    What the config has if the processes do not divide them.
    """
    largest = cfg['train_dataloader']['batch_size']
    mine, rest = divmod(images, processes)
    if not mine or rest:
        return largest, cfg['train_cfg'].get('accumulate', 1)
    size = next(size for size in range(min(mine, largest), 0, -1) if mine % size == 0)
    return size, mine // size
