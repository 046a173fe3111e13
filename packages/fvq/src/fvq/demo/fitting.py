"""Cutting a photo to a size that autoencoders take."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps

from fvq_core.autoencoder import Autoencoder
from fvq_core.errors import UserError

JOINED = (1, 2, 4, 8)  # squares of positions that a quantizer may join


def fit(photo: np.ndarray, autoencoders: Sequence[Autoencoder], longest: int) -> np.ndarray:
    """A photo shrunk to a longest side and cropped about its centre to sides that all of the autoencoders take.

    Those whose images have one size, such as TiTok, get that size instead.

    Args:
        photo: uint8 (H, W, 3).
        autoencoders: One or more.
        longest: The longest side in pixels; smaller photos are not enlarged, but for autoencoders of one size.

    Raises:
        UserError: The photo is smaller than one code, or no size fits them all.
    """
    image = Image.fromarray(photo)
    image.thumbnail((longest, longest), Image.Resampling.BICUBIC)
    factor = math.lcm(*(each.downsample_factor for each in autoencoders))
    for multiple in [factor * joined for joined in JOINED]:
        width, height = (side - side % multiple for side in image.size)
        if width and height and all(takes(each, height, width) for each in autoencoders):
            left, top = (image.width - width) // 2, (image.height - height) // 2
            return np.asarray(image.crop((left, top, left + width, top + height)))
    for each in autoencoders:
        height, width = each.encoder.example_size
        if of_one_size(each) and all(takes(other, height, width) for other in autoencoders):
            return np.asarray(ImageOps.fit(Image.fromarray(photo), (width, height), Image.Resampling.BICUBIC))
    if any(of_one_size(each) for each in autoencoders):
        raise UserError('these two take no image of one size; compare two that do.')
    raise UserError(f'the photo is {photo.shape[1]}x{photo.shape[0]}, smaller than the {factor} pixels of one code.')


def of_one_size(autoencoder: Autoencoder) -> bool:
    """Whether it encodes images of one size only."""
    (height, width), f = autoencoder.encoder.example_size, autoencoder.downsample_factor
    return not any(takes(autoencoder, height + f * joined, width + f * joined) for joined in JOINED)


def takes(autoencoder: Autoencoder, height: int, width: int) -> bool:
    """Whether it encodes images of this size."""
    try:
        autoencoder.layout(height, width)
    except UserError:
        return False
    return True
