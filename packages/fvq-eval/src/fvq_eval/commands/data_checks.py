"""Whether a folder holds the data set that it should: what is there, missing or odd, and the config that uses it."""

from __future__ import annotations

import os
import random
import re
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from fvq_core.data.folder_listing import EXTENSIONS, FolderListing, few, list_folder
from fvq_core.data.image_dataset import ImageDataset
from fvq_core.data.tar_shards import TarShards
from fvq_core.errors import UserError
from fvq_core.files.paths import expand_home
from fvq_core.progress import Progress

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
    """What a check found."""

    lines: list[str]  # what to tell the user
    dataset: dict[str, Any]  # config of the data set, without transforms
    train: bool  # whether it is meant for training

    def config_lines(self) -> list[str]:
        """The data loader to put into a config."""
        dataset = ', '.join(f'{key}={value!r}' for key, value in self.dataset.items())
        split, batch_size = ('train', 16) if self.train else ('val', 32)
        if self.train:
            lines = [
                f"    dataset=dict({dataset}, decoder='auto', transforms=[",
                "        dict(type='ADMRandomCrop', size=256, upsample=True), dict(type='HorizontalFlip')]),",
            ]
        else:
            lines = [f"    dataset=dict({dataset}, transforms=[dict(type='ADMCenterCrop', size=256, upsample=True)]),"]
        start = [f'{split}_dataloader = dict(', f'    batch_size={batch_size}, num_workers=8, pin_memory=True,']
        return [*start, *lines, ')']


def folder_report(listing: FolderListing, where: str, train: bool, **options: Any) -> Report:
    """A report on an `ImageFolder`, with what is left out or may be unintended, as training logs it."""
    line = f'{listing.root}: {len(listing.images):,} images{where}'
    dataset = dict(type='ImageFolder', root=os.path.abspath(listing.root), **options)
    return Report([line, *(f'odd: {odd}' for odd in listing.odd())], dataset, train)


def list_part(path: str, name: str) -> FolderListing:
    """List the folder `name` in a folder, or the folder itself if there is none."""
    path = expand_home(path)
    inside = os.path.join(path, name)
    return list_folder(inside if os.path.isdir(inside) else path)


def check_imagenet(path: str, split: Literal['train', 'val']) -> Report:
    """A split of ImageNet (ILSVRC 2012): `train/<wnid>/*.JPEG`; `val` with or without class folders.

    `path` is the folder of both splits, or of this one. Raises unless the set is complete, as the other checks do.
    """
    listing = list_part(path, split)
    flat = split == 'val' and not listing.classes
    problem = imagenet_problem(listing, IMAGENET[split], flat)
    if problem:
        raise UserError(f'{listing.root}: {problem}')
    where = ', no class folders' if flat else f' in {len(listing.classes):,} classes'
    # Pixels as stored, as the released scripts for ImageNet read them.
    return folder_report(listing, where, split == 'train', exif_orientation='ignore')


def imagenet_problem(listing: FolderListing, expected: ImageNetSplit, flat: bool) -> str | None:
    """What is wrong with a split of ImageNet, `flat` if its images are not in class folders; None if it is complete."""
    packed = [name for name in listing.archives if WNID.fullmatch(Path(name).stem)]
    if packed:
        return (
            f'{len(packed):,} class archives are still packed ({few(packed)}); unpack each into a folder of its '
            'name, or use them as they are: docs/data.md, TarShards.'
        )
    if flat:
        found = set(listing.flat)
        wanted = {f'ILSVRC2012_val_{number:08d}.JPEG' for number in range(1, expected.images + 1)}
        for names, what in ((wanted - found, 'missing'), (found - wanted, 'not of the set')):
            if names:
                return f'{len(found):,} images, expected {len(wanted):,}; {what}: {few(sorted(names))}.'
        return None
    strange = [name for name in listing.classes if not WNID.fullmatch(name)]
    if strange:
        return (
            f'not an ImageNet class (n and eight digits), but every folder becomes a class: {few(strange)}; name the '
            'folder that holds the classes, or move these away.'
        )
    if len(listing.classes) != expected.classes:
        return f'{len(listing.classes):,} class folders, expected {expected.classes:,}; unpack them all.'
    if listing.flat:
        return f'{len(listing.flat):,} images are beside the class folders: {few(listing.flat)}; move them into the folders.'
    wrong = [f'{n} ({k})' for n, k in listing.classes.items() if not expected.smallest <= k <= expected.largest]
    if wrong or len(listing.images) != expected.images:
        which = f'; not between {expected.smallest} and {expected.largest}: {few(wrong)}' if wrong else ''
        return f'{len(listing.images):,} images, expected {expected.images:,}{which}; unpack them again.'
    return None


def check_coco(path: str) -> Report:
    """COCO val2017: 5,000 images directly in `path/val2017`, or `path`."""
    listing = list_part(path, 'val2017')
    strange = [name for name in listing.flat if not re.fullmatch(r'\d{12}\.jpg', name)] + list(listing.classes)
    problem, count = None, len(listing.images)
    if not listing.flat and 'val2017.zip' in listing.archives:
        problem = 'val2017.zip is still packed; unzip it there.'
    elif strange:
        problem = f'not of COCO val2017: {few(strange)}; name its own folder.'
    elif count != COCO_VAL_IMAGES:
        problem = f'{count:,} images, expected {COCO_VAL_IMAGES:,}; unzip them again.'
    if problem:
        raise UserError(f'{listing.root}: {problem}')
    return folder_report(listing, '', train=False)


def check_folder(path: str) -> Report:
    """Any folder that `ImageFolder` takes."""
    listing = list_folder(expand_home(path))
    if not listing.images:
        left_out = ''.join(f'; {line}' for line in listing.odd())
        raise UserError(f'{listing.root}: no image ({", ".join(EXTENSIONS)}) in it{left_out}.')
    counts = listing.classes.values()
    where = f' in {len(counts):,} class folders of {min(counts):,} to {max(counts):,}' if counts else ''
    return folder_report(listing, where, train=True)


def check_tar(shards: str) -> Report:
    """Tar shards; their index is cached, so that a run starts at once."""
    shards = expand_home(shards)
    dataset = TarShards(shards)
    labelled = int((dataset.labels >= 0).sum())
    lines = [f'{shards}: {len(dataset):,} images in {len(dataset.shards):,} tar files, {labelled:,} with a label']
    if dataset.others:
        lines.append(f'odd: {dataset.others:,} members are neither image nor label, or hidden, and are left out')
    named = os.path.abspath(shards) if os.path.exists(shards) else shards
    return Report(lines, dict(type='TarShards', shards=named), True)


def decode_some(dataset: ImageDataset, count: int) -> list[str]:
    """Decode images drawn at random, the same ones each time; report their sizes and which are unreadable."""
    numbers = sorted(random.Random(0).sample(range(len(dataset)), min(count, len(dataset))))  # a stream is read once
    sides: list[int] = []
    unreadable: list[str] = []
    for sample in Progress.each(map(dataset.__getitem__, numbers), 'decoding', len(numbers)):
        named = zip(sample['unreadable'], sample['reasons'], strict=True)
        unreadable += [f'{name} ({reason})' for name, reason in named]
        if sample['image'] is not None:
            sides.append(min(sample['image'].shape[1:]))
    lines = [f'decoded {len(numbers):,}, {len(unreadable):,} unreadable']
    if sides:
        median, small = statistics.median_low(sides), sum(side < 256 for side in sides)
        lines[0] += f'; short sides {min(sides)} to {max(sides)}, median {median}, {small:,} below 256'
    if unreadable:
        lines.append(f'odd: unreadable, and skipped by a run: {"; ".join(unreadable[:5])}')
    return lines
