"""Whether a folder holds the data set that it should: what is there, missing or odd, and the config that uses it."""

from __future__ import annotations

import os
import random
import re
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ..errors import UserError
from ..files.paths import expand_home
from .folder_listing import EXTENSIONS, FolderListing, few, list_folder
from .image_dataset import ImageDataset
from .tar_shards import TarShards

WNID = re.compile(r'n\d{8}')


class ImageNetSplit(NamedTuple):
    """The size of a split of ILSVRC 2012; its classes have `smallest` to `largest` images."""

    classes: int
    images: int
    smallest: int
    largest: int


IMAGENET = {'train': ImageNetSplit(1000, 1_281_167, 732, 1300), 'val': ImageNetSplit(1000, 50_000, 50, 50)}
COCO_VAL_IMAGES = 5000


@dataclass
class Report:
    """What a check found.

    Attributes:
        lines: What to tell the user.
        dataset: Config of the data set, without transforms.
        train: Whether it is meant for training.
    """

    lines: list[str]
    dataset: dict[str, Any]
    train: bool

    def config_lines(self) -> list[str]:
        """The data loader to put into a config."""
        dataset = ', '.join(f'{key}={value!r}' for key, value in self.dataset.items())
        if not self.train:
            return [
                'val_dataloader = dict(',
                '    batch_size=32, num_workers=8, pin_memory=True,',
                f"    dataset=dict({dataset}, transforms=[dict(type='ADMCenterCrop', size=256, upsample=True)]),",
                ')',
            ]
        return [
            'train_dataloader = dict(',
            '    batch_size=16, num_workers=8, pin_memory=True,',
            f"    dataset=dict({dataset}, decoder='auto', transforms=[",
            "        dict(type='ADMRandomCrop', size=256, upsample=True), dict(type='HorizontalFlip')]),",
            ')',
        ]


def check_imagenet(path: str, split: Literal['train', 'val']) -> Report:
    """A split of ImageNet (ILSVRC 2012): `train/<wnid>/*.JPEG`; `val` with or without class folders.

    Args:
        path: The folder of both splits, or of this one.
        split: The split.

    Raises:
        UserError: Anything other than the complete set.
    """
    path = expand_home(path)
    inside = os.path.join(path, split)
    listing = list_folder(inside if os.path.isdir(inside) else path)
    root, expected = listing.root, IMAGENET[split]
    packed = [name for name in listing.archives if WNID.fullmatch(Path(name).stem)]
    if packed:
        raise UserError(
            f'{root}: {len(packed):,} class archives are still packed ({few(packed)}); unpack each into a folder of its '
            'name, or use them as they are: docs/data.md, TarShards.'
        )
    if split == 'val' and not listing.classes:
        wanted = {f'ILSVRC2012_val_{number:08d}.JPEG' for number in range(1, expected.images + 1)}
        check_names(root, set(listing.flat), wanted)
        return Report([f'{root}: {len(listing.images):,} images, no class folders', *odd(listing)], stored(root), False)
    strange = [name for name in listing.classes if not WNID.fullmatch(name)]
    if strange:
        raise UserError(
            f'{root}: no ImageNet class (n and eight digits), and every folder takes a label: {few(strange)}; name the '
            'folder that holds the classes, or move these away.'
        )
    if len(listing.classes) != expected.classes:
        raise UserError(
            f'{root}: {len(listing.classes):,} class folders, expected {expected.classes:,}; unpack them all.'
        )
    if listing.flat:
        raise UserError(
            f'{root}: {len(listing.flat):,} images lie beside the class folders: {few(listing.flat)}; sort them in.'
        )
    wrong = [f'{n} ({k})' for n, k in listing.classes.items() if not expected.smallest <= k <= expected.largest]
    if wrong or len(listing.images) != expected.images:
        which = f'; not between {expected.smallest} and {expected.largest}: {few(wrong)}' if wrong else ''
        raise UserError(
            f'{root}: {len(listing.images):,} images, expected {expected.images:,}{which}; unpack them again.'
        )
    line = f'{root}: {len(listing.images):,} images in {len(listing.classes):,} classes'
    return Report([line, *odd(listing)], stored(root), split == 'train')


def check_names(root: str, found: set[str], wanted: set[str]) -> None:
    """Raise if a folder does not hold exactly these images.

    Raises:
        UserError: Naming images that are missing or do not belong there.
    """
    for names, what in ((wanted - found, 'missing'), (found - wanted, 'not of the set')):
        if names:
            raise UserError(f'{root}: {len(found):,} images, expected {len(wanted):,}; {what}: {few(sorted(names))}.')


def check_coco(path: str) -> Report:
    """COCO val2017: 5,000 images directly in `path/val2017`, or `path`.

    Raises:
        UserError: Anything other than the complete set.
    """
    path = expand_home(path)
    inside = os.path.join(path, 'val2017')
    listing = list_folder(inside if os.path.isdir(inside) else path)
    if not listing.flat and 'val2017.zip' in listing.archives:
        raise UserError(f'{listing.root}: val2017.zip is still packed; unzip it there.')
    strange = [name for name in listing.flat if not re.fullmatch(r'\d{12}\.jpg', name)]
    if strange or listing.classes:
        raise UserError(
            f'{listing.root}: not of COCO val2017: {few([*strange, *listing.classes])}; name its own folder.'
        )
    if len(listing.images) != COCO_VAL_IMAGES:
        raise UserError(
            f'{listing.root}: {len(listing.images):,} images, expected {COCO_VAL_IMAGES:,}; unzip them again.'
        )
    return Report([f'{listing.root}: {len(listing.images):,} images', *odd(listing)], folder(listing.root), False)


def check_folder(path: str) -> Report:
    """Any folder that `ImageFolder` takes.

    Raises:
        UserError: It does not hold an image.
    """
    path = expand_home(path)
    listing = list_folder(path)
    if not listing.images:
        left_out = ''.join(f'; {line}' for line in listing.odd())
        raise UserError(f'{path}: no image ({", ".join(EXTENSIONS)}) in it{left_out}.')
    line, counts = f'{path}: {len(listing.images):,} images', listing.classes.values()
    if counts:
        line += f' in {len(counts):,} class folders of {min(counts):,} to {max(counts):,}'
    return Report([line, *odd(listing)], folder(path), True)


def check_tar(shards: str) -> Report:
    """Tar shards; their index is cached, so that a run starts at once.

    Raises:
        UserError: See `TarShards`.
    """
    shards = expand_home(shards)
    dataset = TarShards(shards)
    labelled = int((dataset.labels >= 0).sum())
    lines = [f'{shards}: {len(dataset):,} images in {len(dataset.shards):,} tar files, {labelled:,} with a label']
    if dataset.others:
        lines.append(f'odd: {dataset.others:,} members are neither image nor label, or hidden, and are left out')
    names = [os.path.abspath(shards)] if os.path.exists(shards) else [shards]
    return Report(lines, dict(type='TarShards', shards=names[0]), True)


def odd(listing: FolderListing) -> list[str]:
    """What is left out of a folder or may be unintended, as training logs it."""
    return [f'odd: {line}' for line in listing.odd()]


def folder(root: str) -> dict[str, Any]:
    """The config of an image folder."""
    return dict(type='ImageFolder', root=os.path.abspath(root))


def stored(root: str) -> dict[str, Any]:
    """The same with pixels as stored, ignoring EXIF orientation, as the released scripts for ImageNet read them."""
    return dict(folder(root), exif_orientation='ignore')


def decode_some(dataset: ImageDataset, count: int) -> list[str]:
    """Decode images drawn at random, the same ones each time; report their sizes and which are unreadable."""
    numbers = random.Random(0).sample(range(len(dataset)), min(count, len(dataset)))
    sides: list[int] = []
    unreadable: list[str] = []
    for sample in map(dataset.__getitem__, numbers):
        unreadable += [
            f'{name} ({reason})' for name, reason in zip(sample['unreadable'], sample['reasons'], strict=True)
        ]
        if sample['image'] is not None:
            sides.append(min(sample['image'].shape[1:]))
    line = f'decoded {len(numbers):,}, {len(unreadable):,} unreadable'
    if sides:
        small = sum(side < 256 for side in sides)
        line += (
            f'; short sides {min(sides)} to {max(sides)}, median {statistics.median_low(sides)}, {small:,} below 256'
        )
    return [line, *([f'odd: unreadable, and skipped by a run: {"; ".join(unreadable[:5])}'] if unreadable else [])]
