"""A folder of photographs in place of every config's data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from ..data.image_folder import list_images
from ..errors import UserError
from ..registry import component_name

LIST_NAME = 'evaluation_crops.txt'
# A crop covers a quarter to a half of the short side of a photo: detail as in photos taken at full size, and many
# different crops of each.
FRACTIONS = dict(min_fraction=0.25, max_fraction=0.5)
CROPS_A_PHOTO = 4  # at least


def photo_folders(root: str) -> tuple[Path, Path]:
    """The training and evaluation folders of `--data`.

    Raises:
        UserError: One of them is missing.
    """
    folder = Path(root).expanduser()
    train = folder / 'train'
    evaluation = next((folder / name for name in ('val', 'eval') if (folder / name).is_dir()), None)
    if not train.is_dir() or evaluation is None:
        raise UserError(
            f'benchmark: --data {root} must hold the folders train/ and val/ (or eval/), with images inside.'
        )
    return train.resolve(), evaluation.resolve()


def write_crop_list(folder: Path, crops: int, target: Path) -> int:
    """List every photo of a folder several times, each time for another crop; its label is the number of the photo.

    Args:
        folder: Of the evaluation photos.
        crops: Fewest crops wanted in all.
        target: The list file.

    Returns:
        Crops in all, the same number of each photo.
    """
    photos = [name for name, _ in list_images(str(folder))]
    if not photos:
        raise UserError(f'benchmark: there is no image in {folder}.')
    rounds = max(CROPS_A_PHOTO, math.ceil(crops / len(photos)))
    lines = [f'{name} {number}\n' for _ in range(rounds) for number, name in enumerate(photos)]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(''.join(lines))
    return len(lines)


def use_photos(configs: Sequence[Config], root: str, crops: int, work_dir: Path) -> int:
    """Make configs train on the photos of `root/train` and evaluate on fixed crops of those of `root/val`.

    Batch sizes and the size of the crops stay.

    Args:
        configs: Changed in place.
        root: See `photo_folders`.
        crops: Fewest evaluation crops.
        work_dir: Where the list of evaluation crops goes.

    Returns:
        Evaluation crops.
    """
    train, evaluation = photo_folders(root)
    crop_list = work_dir.resolve() / LIST_NAME
    count = write_crop_list(evaluation, crops, crop_list)
    for cfg in configs:
        size = crop_size(cfg.train_dataloader['dataset'])
        crop = dict(type='ADMRandomCrop', size=size, upsample=True, **FRACTIONS)
        cfg.train_dataloader['dataset'] = ConfigDict(
            type='ImageFolder', root=str(train), transforms=[crop, dict(type='HorizontalFlip')]
        )
        cfg.val_dataloader['dataset'] = ConfigDict(  # of one seed, so that every run is scored on the same crops
            type='ImageFolder', root=str(evaluation), list_file=str(crop_list), transforms=[crop], seed=0
        )
    return count


def labels_are_photos(dataset: Any) -> bool:
    """Whether the labels of an evaluation set's config number its photos; elsewhere they are classes."""
    named = dataset['type'] if isinstance(dataset['type'], str) else component_name(dataset['type'])
    bundled = named.rsplit('.', 1)[-1] == 'BundledPhotos'
    return bundled or Path(dataset.get('list_file') or '').name == LIST_NAME


def crop_size(dataset: Any) -> int:
    """The side of the crops of a data set's config.

    Raises:
        UserError: It does not say one.
    """
    sizes = [dataset.get('crop_size'), *(transform.get('size') for transform in dataset.get('transforms', ()))]
    found = next((size for size in sizes if size), None)
    if found is None:
        raise UserError(
            f'benchmark: --data needs to know the crop of {dataset.get("type")}; it has no size in its config.'
        )
    return found
