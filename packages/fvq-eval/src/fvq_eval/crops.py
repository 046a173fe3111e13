"""Centre crops of evaluation scripts that do not follow ADM: other kernels, other roundings, or no resize at all.

The kernel by itself changes rFID, so a protocol has to name it. Each class gives the pixels of one library's
pair of transforms.
"""

from __future__ import annotations

import random

import numpy as np
from PIL import Image

from fvq_core.data.transforms import SquareCrop
from fvq_core.registry import TRANSFORMS


@TRANSFORMS.register_module()
class CenterCrop(SquareCrop):
    """The middle of the image at its own resolution, as torchvision's `CenterCrop`; a smaller image is padded with black.

    On photos larger than the crop this shows details at full resolution, not whole objects.
    """

    def __call__(self, image: Image.Image, rng: random.Random) -> Image.Image:
        return cut_center(image, self.size)


@TRANSFORMS.register_module()
class BilinearCenterCrop(SquareCrop):
    """torchvision's `Resize(size)` and `CenterCrop(size)` on PIL images: a triangle filter that widens when it shrinks."""

    def __call__(self, image: Image.Image, rng: random.Random) -> Image.Image:
        short, long = min(image.size), max(image.size)
        length = int(self.size * long / short)  # truncated, not rounded
        size = (self.size, length) if image.width <= image.height else (length, self.size)
        return cut_center(image.resize(size, Image.Resampling.BILINEAR), self.size)


@TRANSFORMS.register_module()
class LanczosCenterCrop(SquareCrop):
    """The largest square in the middle of the image, resized by PIL's Lanczos filter, as StudioGAN prepares its data."""

    def __call__(self, image: Image.Image, rng: random.Random) -> Image.Image:
        square = cut_center(image, min(image.size))
        return square.resize((self.size, self.size), Image.Resampling.LANCZOS)


@TRANSFORMS.register_module()
class OpenCVCenterCrop(SquareCrop):
    """albumentations' `SmallestMaxSize(size)` and `CenterCrop(size, size)`: OpenCV's bilinear kernel, no antialiasing.

    It reads four pixels however much it shrinks, so fine patterns alias.
    """

    def __call__(self, image: Image.Image, rng: random.Random) -> Image.Image:
        import cv2  # takes a tenth of a second, and loading a tokenizer does not need it

        pixels, scale = np.asarray(image.convert('RGB')), self.size / min(image.size)
        if scale != 1:
            size = (round(image.width * scale), round(image.height * scale))
            pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR)
        top, left = (pixels.shape[0] - self.size) // 2, (pixels.shape[1] - self.size) // 2
        return Image.fromarray(pixels[top : top + self.size, left : left + self.size])


def cut_center(image: Image.Image, size: int) -> Image.Image:
    """torchvision's centre crop: smaller images are padded with black, half pixels are rounded to even."""
    extra_x, extra_y = image.width - size, image.height - size
    left = round(extra_x / 2) if extra_x > 0 else int(extra_x / 2)  # PIL fills what lies outside the image with black
    top = round(extra_y / 2) if extra_y > 0 else int(extra_y / 2)
    return image.crop((left, top, left + size, top + size))
