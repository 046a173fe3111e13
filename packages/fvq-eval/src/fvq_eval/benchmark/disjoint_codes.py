"""How many codes of a set of photos stand for pixels of their own: crops that overlap count some positions twice."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from fvq_core.data.folder_listing import list_folder
from fvq_core.data.image_folder import ImageFolder
from fvq_core.data.photos import BundledPhotos
from fvq_core.registry import DATASETS

from .photo_data import crop_size, has_tiles, is_bundled, tiles_of
from .photo_tiles import PhotoTiles
from .rows import Row


def disjoint_crops(dataset: Any) -> float | None:
    """The crops that the photos of a data set's config can be cut into without overlap, by area.

    Photos are counted at the size at which crops show most of them, so this is the smallest such number. None for data sets
    whose photos are not known here.
    """
    if is_bundled(dataset):
        arguments = {key: value for key, value in dataset.items() if key != 'type'}
        parts = [part for parts in BundledPhotos(**arguments).parts.values() for part in parts]
        return sum(part.width * part.height for part in parts) / crop_size(dataset) ** 2
    if DATASETS.resolve(dataset['type']) not in (ImageFolder, PhotoTiles):
        return None
    photos = count_photos(dataset)
    if has_tiles(dataset):
        return float(photos * tiles_of(dataset))
    fractions = [transform.get('max_fraction', 1.0) for transform in dataset.get('transforms', ())]
    return photos / min(fractions, default=1.0) ** 2


def count_photos(dataset: Any) -> int:
    """The different photos of a config of a folder; 0 if the folder is not there."""
    listed = dataset.get('list_file')
    if listed:
        lines = Path(listed).read_bytes().splitlines()
        return len({line.rpartition(b' ')[0] for line in lines if line.strip()})
    root = Path(dataset['root']).expanduser()
    return len(list_folder(str(root)).images) if root.is_dir() else 0


def disjoint_codes(row: Row, split: str, counted: int | None = None) -> int | None:
    """N without repeated positions: of the `train` or `val` photos of a row with codes.

    Args:
        counted: Codes that were counted, which is the most that can be meant.
    """
    assert row.cfg is not None
    crops = disjoint_crops(row.cfg[f'{split}_dataloader']['dataset'])
    if crops is None:
        return None
    found = int(crops * row.codes_per_image)
    return found if counted is None else min(found, counted)


def cap(codes: int, codebook_size: int) -> float:
    """The largest expected usage, in %: that of so many even draws."""
    return 100.0 * -math.expm1(-codes / codebook_size)


def per_code(codes: int | None, codebook_size: int) -> str:
    """How many of them each code could have."""
    return '-' if codes is None else f'{np.floor(10 * codes / codebook_size) / 10:,.1f}'
