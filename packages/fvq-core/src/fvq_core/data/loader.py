"""Data loaders from configs."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from typing import Any, cast

import torch
from mmengine.dist import get_dist_info
from torch.utils.data import DataLoader, Dataset, SubsetRandomSampler

from ..errors import UserError, nearest_hint
from ..registry import DATASETS
from .sample import collate_samples
from .seekable_sampler import SeekableSampler

LOADER_KEYS = ('dataset', 'batch_size', 'num_workers', 'pin_memory', 'prefetch_factor', 'max_unreadable')


class _Strided(SubsetRandomSampler):
    """The indices of one rank in order: no padding, so no image is counted twice."""

    def __iter__(self):
        return iter(self.indices)


def build_dataset(cfg: Mapping[str, Any], seed: int) -> Dataset:
    """The dataset of a loader's config, checked and not empty.

    Raises:
        UserError: Unknown keys, no usable batch size, or the dataset's own complaint.
    """
    for key in cfg:
        if key not in LOADER_KEYS:
            raise UserError(f"data loader: unknown key '{key}'; {nearest_hint(key, LOADER_KEYS)}")
    if not isinstance(cfg.get('batch_size'), int) or cfg['batch_size'] < 1:
        raise UserError(f'data loader: batch_size must be a whole number from 1 on, got {cfg.get("batch_size")!r}.')
    return DATASETS.build(cfg['dataset'], seed=seed)


def build_loader(cfg: Mapping[str, Any], seed: int, train: bool) -> DataLoader:
    """An endless, seekable loader for training, or one pass in order for evaluation.

    Args:
        cfg: `dataset` (a config), `batch_size` of one process, and optionally `num_workers` (default 0), `pin_memory`
            (default False; without a GPU nothing is pinned), `prefetch_factor` (batches a worker keeps ready) and
            `max_unreadable` (largest tolerated share of unreadable images, default 0.1).
        seed: Of the data order and of random transforms.
        train: Which of the two.
    """
    dataset = build_dataset(cfg, seed)
    rank, world_size = get_dist_info()
    sized = cast(Sized, dataset)
    sampler = SeekableSampler(sized, seed=seed) if train else _Strided(range(rank, len(sized), world_size))
    workers = cfg.get('num_workers', 0)
    return DataLoader(
        dataset,
        batch_size=cfg['batch_size'],
        sampler=sampler,
        num_workers=workers,
        collate_fn=getattr(dataset, 'collate', collate_samples),
        persistent_workers=workers > 0 and train,
        prefetch_factor=cfg.get('prefetch_factor') if workers else None,
        pin_memory=bool(cfg.get('pin_memory')) and torch.cuda.is_available(),
    )
