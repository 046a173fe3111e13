"""What a benchmark's generators train on and are scored on: crops that are cut as the tokenizers' own are."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fvq_core.data.photos import RIGHT_QUARTER
from fvq_core.data.transforms import ADMCenterCrop, ADMRandomCrop
from fvq_core.errors import UserError
from fvq_core.registry import DATASETS, TRANSFORMS

from ..samples.bundled import BUNDLED
from ..samples.open_samples import open_samples
from .photo_data import crop_size, is_bundled

HELD_OUT = f'{BUNDLED}:eval'  # as `tools/extract_codes.py` calls the quarter of each photo that is not trained on
PHOTOS = 10
FEWEST_CROPS = 4  # a kernel distance needs two images of each of two sets


def image_set(dataset: Any) -> str:
    """The images of a data set's config, as commands name them.

    Raises:
        UserError: Parts of the bundled photos that no command names, or no folder.
    """
    if not is_bundled(dataset):
        if 'root' not in dataset:
            raise UserError(
                f'--generator: expected data with a root folder, got a {dataset.get("type")}; give --data PATH.'
            )
        return str(dataset['root'])
    if dataset.get('photos') is not None or dataset.get('held_out', RIGHT_QUARTER) != RIGHT_QUARTER:
        raise UserError(
            '--generator: expected all ten bundled photos with the right quarter held out, got photos or held_out of its '
            'own; leave both out.'
        )
    return BUNDLED if dataset['split'] == 'train' else HELD_OUT


def crop_options(dataset: Any, images: str, crops: int) -> list[str]:
    """How `tools/extract_codes.py` cuts about so many crops of a set of images as a data set's config does.

    Args:
        dataset: The config.
        images: Its `image_set`.
        crops: Crops in all, mirrored ones not counted.
    """
    size = crop_size(dataset)
    options = ['--size', str(size), '--upsample']
    if is_bundled(dataset):
        each, side = str(max(1, crops // PHOTOS)), dataset.get('short_side')
        if side is None:
            return [*options, '--crops', 'native', each]
        return [*options, '--crops', 'random', each, '--crop-range', *[str(size / side)] * 2]
    crop = TRANSFORMS.build(dict(dataset['transforms'][0])) if dataset.get('transforms') else None
    if isinstance(crop, ADMCenterCrop):
        return [*options, '--crops', 'center']
    if not isinstance(crop, ADMRandomCrop):
        raise UserError(
            f'--generator: expected ADMRandomCrop or ADMCenterCrop as the first transform, got {type(crop).__name__}; '
            'codes are extracted of these only.'
        )
    count = len(open_samples(images, crop=dict(type='ADMCenterCrop', size=size, upsample=True)))
    each, shares = max(1, crops // count), (crop.min_fraction, crop.max_fraction)
    return [*options, '--crops', 'random', str(each), '--crop-range', *map(str, shares)]


def check_data(cfg: Any) -> None:
    """Raise before anything is trained if a row's data cannot serve a generator.

    Raises:
        UserError: See `image_set` and `crop_options`; evaluation crops of what is trained on, or too few of them.
    """
    sets = []
    for part in ('train', 'val'):
        dataset = cfg[f'{part}_dataloader']['dataset']
        sets.append(image_set(dataset))
        crop_options(dataset, sets[-1], 1)
    if sets[0] == sets[1]:
        raise UserError(
            f'--generator: expected evaluation crops that are held out, got those of {sets[0]} for training and evaluation; '
            'set val_dataloader.dataset to other images (of the bundled photos: split=eval).'
        )
    count = len(DATASETS.build(cfg.val_dataloader['dataset']))
    if count < FEWEST_CROPS:
        raise UserError(
            f'--generator: expected {FEWEST_CROPS} evaluation crops or more, got {count}; raise '
            'val_dataloader.dataset.crops, or give more images.'
        )


def drawn_crops(dataset: Any, count: int) -> Tensor:
    """Up to so many different crops of a data set's config, the same in every run, uint8 (N, 3, H, W).

    Raises:
        UserError: An image cannot be read.
    """
    built = DATASETS.build(dataset)
    found = []
    for number in torch.randperm(len(built), generator=torch.Generator().manual_seed(0))[:count].tolist():
        sample = built[number]
        if sample['image'] is None:
            raise UserError(sample['error'] or f'{", ".join(sample["unreadable"])}: the image cannot be read.')
        found.append(sample['image'])
    return torch.stack(found)
