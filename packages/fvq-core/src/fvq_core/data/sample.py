"""Samples, batches, and what happens to images that cannot be read."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sized
from itertools import zip_longest
from typing import Any, NotRequired, TypedDict

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import UserError
from ..files.paths import printable
from ..ops.image_store import KeptCrop
from ..registry import COLLATE_FUNCTIONS


class Sample(TypedDict):
    """One image of a dataset.

    `image` is uint8 (3, H, W), or None if the file could not be read. `unreadable` names files that were skipped on the
    way to this sample, and `reasons` says why. `error` carries the message of a `UserError` out of a loader process.
    `flip` asks the device to mirror the image; see `fvq_core.images.device_images`.
    """

    image: Tensor | None
    label: int
    unreadable: list[str]
    reasons: NotRequired[list[str]]
    error: str | None
    flip: NotRequired[bool]


def to_tensor(image: Image.Image | KeptCrop) -> Tensor:
    """A PIL image to uint8 (3, H, W); a crop that is cut later to its row of `resized_crops`."""
    if isinstance(image, KeptCrop):
        return image.to_tensor()
    return torch.from_numpy(np.array(image.convert('RGB'))).permute(2, 0, 1).contiguous()


def sample_rng(seed: int, position: int) -> random.Random:
    """The random source of one sample in the data order; the same on every machine and for any number of workers."""
    return random.Random(f'{seed}/{position}')


def check_index(dataset: Sized, index: int | tuple[int, int]) -> None:
    """Raise an IndexError if an index is out of range; otherwise `for sample in dataset` would not end."""
    number = index[0] if isinstance(index, tuple) else index
    if not -len(dataset) <= number < len(dataset):
        raise IndexError(f'{type(dataset).__name__}: there are {len(dataset)} samples, got index {number}')


@COLLATE_FUNCTIONS.register_module()
def collate_samples(samples: list[Sample]) -> dict[str, Any]:
    """Stack what could be read: `images` uint8 (B, 3, H, W), `labels` int64 (B,), `flip` bool (B,), names, reasons, `error`."""
    read = [(image, sample) for sample in samples if (image := sample['image']) is not None]
    sizes = {tuple(image.shape) for image, _ in read}
    error = next((sample['error'] for sample in samples if sample['error']), None)
    if len(sizes) > 1 and error is None:
        shapes = ', '.join(map(str, sorted(sizes)))
        error = f'images of one batch differ in size ({shapes}); add a crop to the transforms.'
    return {
        'images': torch.stack([image for image, _ in read]) if read and error is None else None,
        'labels': torch.tensor([sample['label'] for _, sample in read], dtype=torch.int64),
        'flip': torch.tensor([sample.get('flip', False) for _, sample in read], dtype=torch.bool),
        'unreadable': [name for sample in samples for name in sample['unreadable']],
        'reasons': [reason for sample in samples for reason in sample.get('reasons', ())],
        'error': error,
    }


class UnreadableImages:
    """Counts the distinct unreadable files of a run, logs each once, and raises if they exceed the share `allowed`."""

    def __init__(self, dataset_size: int, allowed: float, logger: Any) -> None:
        self.dataset_size, self.allowed, self.logger = dataset_size, allowed, logger
        self.names: set[str] = set()
        self.last = ''

    def check(self, batch: Mapping[str, Any]) -> bool:
        """Whether the batch has any image; raises the error of a sample, or if too many files are unreadable."""
        if batch['error']:
            raise UserError(batch['error'])
        for name, reason in zip_longest(batch['unreadable'], batch.get('reasons', ())):
            if name not in self.names:
                self.names.add(name)
                self.last = f'{name} ({reason})' if reason else name
                because = f': {reason}' if reason else ''
                self.logger.warning(f'skipped unreadable image {printable(name)} ({len(self.names)} so far){because}')
        self.check_share(len(self.names))
        return any(batch.get(name) is not None for name in ('images', 'codes', 'latents'))

    def check_share(self, unreadable: int) -> None:
        """Raise if more than `allowed` files are unreadable, or all of them: training would wait for an image forever.

        `unreadable` is the number of distinct unreadable files, of this rank or of all.
        """
        last = f', the last is {self.last}' if self.last else ''
        if 0 < unreadable == self.dataset_size:
            raise UserError(f'none of {unreadable} images can be read{last}; repair the data.')
        if unreadable > self.allowed * self.dataset_size:
            raise UserError(
                f'{unreadable} of {self.dataset_size} images cannot be read, more than max_unreadable={self.allowed:g} allows'
                f'{last}; repair the data or raise max_unreadable of the data loader.'
            )
