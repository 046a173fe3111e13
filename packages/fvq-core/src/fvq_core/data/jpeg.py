"""Crops of JPEG files by torchvision: the pixels of PIL to within two grey levels of 255, in a fraction of its time."""

from __future__ import annotations

import random
from typing import cast

import torch
from PIL import Image
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import resize_image

from ..ops.crop_window import Window, cut
from .decoding import Orientation, orientation, to_rgb
from .transforms import ADMCrop


class JPEGCrop:
    """An ADM crop of an image file, by torchvision if it can and by PIL otherwise; random draws and windows are the same.

    Both libraries decode with libjpeg-turbo to the same pixels; their bicubic filters differ only by rounding, by at most
    2 of 255. PIL handles what torchvision does differently: grey and CMYK files, halving by a box filter, which ADM
    does to large images, images more than twice as high as wide, of which Pillow 13 filters the columns first, and photos that
    their EXIF tag rotates.
    """

    def __init__(self, crop: ADMCrop, exif_orientation: Orientation = 'apply') -> None:
        self.crop, self.exif_orientation = crop, exif_orientation

    def __call__(self, opened: Image.Image, data: bytes, rng: random.Random) -> Image.Image | Tensor:
        """Crop `data`, a whole file, of which `open_image` gave `opened`; uint8 (3, size, size) if torchvision could."""
        if self.exif_orientation == 'apply' and orientation(opened) != 1:
            return self.crop(to_rgb(opened), rng)
        window = self.crop.window(opened.width, opened.height, rng)
        tall = opened.height > 2 * opened.width
        alike = opened.format == 'JPEG' and opened.mode == 'RGB' and not window.halvings and not tall
        pixels = decode(data) if alike else None
        return cut(to_rgb(opened, 'ignore'), window) if pixels is None else cut_pixels(pixels, window)


def decode(data: bytes) -> Tensor | None:
    """A JPEG file as uint8 (3, H, W); None if torchvision refuses it, so that PIL decides."""
    try:
        encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        return cast(Tensor, decode_jpeg(encoded, mode=ImageReadMode.RGB))
    except RuntimeError:
        return None


def cut_pixels(pixels_CHW: Tensor, window: Window) -> Tensor:
    """`cut` for a tensor, without halvings."""
    size = [window.height, window.width]
    resized = resize_image(pixels_CHW, size, interpolation=InterpolationMode.BICUBIC, antialias=True)
    rows, columns = slice(window.top, window.top + window.size), slice(window.left, window.left + window.size)
    return resized[:, rows, columns].contiguous()
