"""Crops and flips, in the way of ADM (Dhariwal & Nichol, 2021), which LlamaGen, VAR and FVQ follow.

A transform is called with a PIL image and a `random.Random` of its own sample, so a sample depends only on the
seed and its position in the data order, never on workers or on earlier samples.
"""

from __future__ import annotations

import math
import random
from typing import Any, TypeVar

from PIL import Image
from torch import Tensor

from ..errors import UserError
from ..ops.crop_window import Window, cut, shrunk_size
from ..registry import TRANSFORMS

Pixels = TypeVar('Pixels', Image.Image, Tensor)


class CropTooLargeError(UserError):
    """An image is smaller than the crop, and enlarging was not allowed."""


class SquareCrop:
    """A crop of `size` by `size` pixels."""

    def __init__(self, size: int) -> None:
        if size < 1:
            raise UserError(f'{type(self).__name__}: size must be 1 or more, got {size}.')
        self.size = size

    def __call__(self, image: Image.Image, rng: random.Random) -> Image.Image:
        raise NotImplementedError

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """64-pixel crops."""
        return dict(size=64)


class ADMCrop(SquareCrop):
    """A square crop of the shrunk image; a subclass chooses its position.

    Args:
        size: Side of the crop in pixels.
        upsample: Enlarge an image whose short side is below `size`, as the released code silently does; otherwise it is
            an error. ImageNet has a few small images and needs True.

    Attributes:
        short_sides: The shortest and the longest short side that an image is shrunk to.
    """

    def __init__(self, size: int, upsample: bool = False) -> None:
        super().__init__(size)
        self.upsample, self.short_sides = upsample, (size, size)

    def __call__(self, image: Image.Image, rng: random.Random) -> Image.Image:
        return cut(image, self.window(image.width, image.height, rng))

    def window(self, width: int, height: int, rng: random.Random) -> Window:
        """The window of an image of this size; a `CropTooLargeError` if it is too small and `upsample` is False."""
        if min(width, height) < self.size and not self.upsample:
            raise CropTooLargeError(
                f'{type(self).__name__}: the image is {width}x{height}, smaller than the '
                f'{self.size}x{self.size} crop; choose a smaller size or set upsample=True.'
            )
        return self._window(width, height, rng)

    def _window(self, width: int, height: int, rng: random.Random) -> Window:
        raise NotImplementedError


@TRANSFORMS.register_module()
class ADMCenterCrop(ADMCrop):
    """The centre square of the image shrunk to `size`."""

    def _window(self, width: int, height: int, rng: random.Random) -> Window:
        halvings, width, height = shrunk_size(width, height, self.size)
        return Window(halvings, width, height, (width - self.size) // 2, (height - self.size) // 2, self.size)


@TRANSFORMS.register_module()
class ADMRandomCrop(ADMCrop):
    """A random square of the image shrunk to a random short side.

    The short side is drawn from ceil(size / max_fraction) to ceil(size / min_fraction), then the row, then the column.

    Args:
        size, upsample: See `ADMCrop`.
        min_fraction: Smallest fraction of the short side that the crop covers.
        max_fraction: Largest fraction.
    """

    def __init__(self, size: int, min_fraction: float = 0.8, max_fraction: float = 1.0, upsample: bool = False) -> None:
        super().__init__(size, upsample)
        if not 0 < min_fraction <= max_fraction <= 1:
            raise UserError(
                f'ADMRandomCrop: need 0 < min_fraction <= max_fraction <= 1, got {min_fraction} and {max_fraction}.'
            )
        self.min_fraction, self.max_fraction = min_fraction, max_fraction
        self.short_sides = math.ceil(size / max_fraction), math.ceil(size / min_fraction)

    def _window(self, width: int, height: int, rng: random.Random) -> Window:
        shortest, longest = self.short_sides
        halvings, width, height = shrunk_size(width, height, rng.randrange(shortest, longest + 1))
        top = rng.randrange(height - self.size + 1)
        left = rng.randrange(width - self.size + 1)
        return Window(halvings, width, height, left, top, self.size)


@TRANSFORMS.register_module()
class HorizontalFlip:
    """Mirror with probability `p`.

    Args:
        on_device: Only draw here; the batch carries the result as `flip`, and `fvq_core.images.device_images` mirrors.
            It must then be the last transform. Images are the same either way.
    """

    def __init__(self, p: float = 0.5, on_device: bool = False) -> None:
        if not 0 <= p <= 1:
            raise UserError(f'HorizontalFlip: p must lie between 0 and 1, got {p}.')
        self.p, self.on_device = p, on_device

    def draw(self, rng: random.Random) -> bool:
        """Whether to mirror a sample."""
        return rng.random() < self.p

    def __call__(self, image: Pixels, rng: random.Random) -> Pixels:
        if not self.draw(rng):
            return image
        return image.flip(-1) if isinstance(image, Tensor) else image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
