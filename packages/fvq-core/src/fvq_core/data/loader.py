"""Data loaders from configs."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from typing import Any, cast

from mmengine.dist import get_dist_info
from torch.utils.data import DataLoader, Dataset

from ..config.schema import LOADER
from ..errors import UserError, nearest_hint
from ..ops.distributed import choose_device
from ..ops.image_store import keep
from ..ops.meeting import outlive_first_signal
from ..registry import DATASETS
from ..registry.argument_types import check
from .sample import collate_samples
from .seekable_sampler import SeekableSampler


def build_dataset(cfg: Mapping[str, Any], seed: int) -> Dataset:
    """The dataset of a loader's config, once the config is checked."""
    for key in cfg:
        if key not in LOADER:
            raise UserError(f"data loader: unknown key '{key}'; {nearest_hint(key, LOADER)}")
        check(cfg[key], LOADER[key], f'data loader: {key}')
    for key in ('dataset', 'batch_size'):
        if key not in cfg:
            raise UserError(f"data loader: '{key}' is missing; add it.")
    for key, least in (('batch_size', 1), ('num_workers', 0), ('prefetch_factor', 1)):
        if (value := cfg.get(key)) is not None and value < least:
            raise UserError(f'data loader: {key} must be {least} or more, got {value}.')
    if not 0 <= cfg.get('max_unreadable', 0) <= 1:
        raise UserError(f'data loader: max_unreadable must lie in [0, 1], got {cfg["max_unreadable"]}; 0.1 is a tenth.')
    component = DATASETS.resolve(cfg['dataset'].get('type', ''))
    if getattr(component, '__module__', '').startswith('mmengine.'):
        raise UserError(
            f"data loader: mmengine's {component.__name__} does not take datasets whose samples depend on the place in the "
            'data order; several folders, or files that repeat, go into one list file (docs/data.md).'
        )
    return DATASETS.build(cfg['dataset'], seed=seed)


class Loader(DataLoader):
    """A `DataLoader` that knows how many of its images may be unreadable."""

    max_unreadable: float = 0.1  # largest tolerated share, in [0, 1]


def build_loader(cfg: Mapping[str, Any], seed: int, train: bool, device: str = 'cpu') -> Loader:
    """An endless, seekable loader for training, or one pass in order for evaluation.

    Args:
        cfg: `dataset` (a config), `batch_size` of one process, and optionally `num_workers` (default 0), `pin_memory`
            (default False; only for a GPU), `prefetch_factor` (batches that a worker keeps ready) and
            `max_unreadable` (largest tolerated share of unreadable images, default 0.1), and `on_device`: True keeps the
            images on the device and crops them there, 'auto' does so if they fit; see `ImageStore`.
        seed: Seed of the data order and of random transforms.
        device: Where `on_device` keeps images; see `choose_device`.
    """
    dataset = build_dataset(cfg, seed)
    rank, world_size = get_dist_info()
    sized = cast(Sized, dataset)
    # Evaluation: without padding, so that no image is counted twice.
    sampler = SeekableSampler(sized, seed=seed) if train else range(rank, len(sized), world_size)
    collate = getattr(dataset, 'collate', collate_samples)
    kept = keep(dataset, cfg.get('on_device', False), choose_device(device), world_size, collate)
    workers = 0 if kept else cfg.get('num_workers', 0)
    loader = Loader(
        dataset,
        batch_size=cfg['batch_size'],
        sampler=sampler,
        num_workers=workers,
        collate_fn=kept or collate,
        persistent_workers=workers > 0 and train,
        prefetch_factor=cfg.get('prefetch_factor') if workers else None,
        pin_memory=bool(cfg.get('pin_memory')) and not kept and choose_device(device).type == 'cuda',
        worker_init_fn=outlive_first_signal,
    )
    loader.max_unreadable = cfg.get('max_unreadable', Loader.max_unreadable)
    return loader
