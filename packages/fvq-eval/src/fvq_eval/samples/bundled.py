"""Crops of the bundled photographs as an image set: something real to compare with on any machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from fvq_core.data.photos import PHOTO_NAMES, BundledPhotos

from .samples import Samples, pixels_digest

BUNDLED, CROPS = 'bundled', 1000


class BundledSamples(Samples):
    """1,000 crops of the training parts of the ten photos, each most of one; the class is the number of the photo.

    Args:
        size: Side of a crop in pixels; the photos are shrunk so that it is eight ninths of their short side.
    """

    kind = BUNDLED

    def __init__(self, size: int) -> None:
        self.photos = BundledPhotos('train', size, CROPS, short_side=round(size * 9 / 8))
        super().__init__(BUNDLED, size, size, np.arange(CROPS) % len(PHOTO_NAMES))

    def read(self, blocks: Sequence[int]) -> Iterator[Tensor]:
        for block in blocks:
            images = [self.photos[number]['image'] for number in self.numbers(block)]
            yield torch.stack([image for image in images if image is not None])  # a bundled photo is always readable

    def digests(self, blocks: Sequence[int]) -> Iterator[str]:
        for images in self.read(blocks):
            yield pixels_digest(images.numpy())
