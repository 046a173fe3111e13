"""Crops and flips of PIL images, in the way of ADM (Dhariwal & Nichol, 2021), which LlamaGen, VAR and FVQ follow.

A transform is called with the image and a `random.Random` of its own sample, so that what a sample looks like depends
on the seed and its place in the data order alone, never on workers or on what came before.
"""

from __future__ import annotations

import math
import random
from typing import Any

from PIL import Image

from ..errors import UserError
from ..registry import TRANSFORMS


class CropTooLargeError(UserError):
    """An image is smaller than the crop, and enlarging was not allowed."""


def shrink(image: Image.Image, short_side: int) -> Image.Image:
    """Bring the short side to `short_side`: halve with a box filter while it is at least twice too long, then bicubic."""
    while min(image.size) >= 2 * short_side:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    scale = short_side / min(image.size)
    return image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)


class ADMCrop:
    """A square crop after `shrink`.

    Args:
        size: Side of the crop in pixels.
        upsample: Enlarge an image whose short side is below `size`, as the released code silently does; otherwise it is
            an error. ImageNet needs True: it has a few small images.
    """

    def __init__(self, size: int, upsample: bool = False) -> None:
        if size < 1:
            raise UserError(f'{type(self).__name__}: size must be 1 or more, got {size}.')
        self.size, self.upsample = size, upsample

    def check(self, image: Image.Image) -> None:
        """Refuse to enlarge unless told to."""
        if min(image.size) < self.size and not self.upsample:
            raise CropTooLargeError(
                f'{type(self).__name__}: the image is {image.width}x{image.height}, smaller than the '
                f'{self.size}x{self.size} crop; choose a smaller size or set upsample=True.'
            )

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """64-pixel crops."""
        return dict(size=64)


@TRANSFORMS.register_module()
class ADMCenterCrop(ADMCrop):
    """The centre square of the image shrunk to `size`."""

    def __call__(self, image: Image.Image, rng: random.Random) -> Image.Image:
        self.check(image)
        image = shrink(image, self.size)
        left, top = (image.width - self.size) // 2, (image.height - self.size) // 2
        return image.crop((left, top, left + self.size, top + self.size))


@TRANSFORMS.register_module()
class ADMRandomCrop(ADMCrop):
    """A random square of the image shrunk to a random short side.

    The short side is drawn from ceil(size / max_fraction) to ceil(size / min_fraction), then the row, then the column.

    Args:
        size: Side of the crop in pixels.
        min_fraction: Smallest share of the short side that the crop covers.
        max_fraction: Largest share.
        upsample: See `ADMCrop`.
    """

    def __init__(self, size: int, min_fraction: float = 0.8, max_fraction: float = 1.0, upsample: bool = False) -> None:
        super().__init__(size, upsample)
        if not 0 < min_fraction <= max_fraction <= 1:
            raise UserError(
                f'ADMRandomCrop: need 0 < min_fraction <= max_fraction <= 1, got {min_fraction} and {max_fraction}.'
            )
        self.min_fraction, self.max_fraction = min_fraction, max_fraction

    def __call__(self, image: Image.Image, rng: random.Random) -> Image.Image:
        self.check(image)
        shortest = math.ceil(self.size / self.max_fraction)
        longest = math.ceil(self.size / self.min_fraction)
        image = shrink(image, rng.randrange(shortest, longest + 1))
        top = rng.randrange(image.height - self.size + 1)
        left = rng.randrange(image.width - self.size + 1)
        return image.crop((left, top, left + self.size, top + self.size))


@TRANSFORMS.register_module()
class HorizontalFlip:
    """Mirror with probability `p`."""

    def __init__(self, p: float = 0.5) -> None:
        self.p = p

    def __call__(self, image: Image.Image, rng: random.Random) -> Image.Image:
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < self.p else image
