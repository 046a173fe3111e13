"""Decoding of image files: what is not plain 8-bit RGB is refused, or converted if asked to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image

from fvq_core.data.decoding import (
    UnreadableImageError,
    bits,
    check_range,
    has_alpha,
    is_transparent,
    open_image,
    to_rgb,
)
from fvq_core.errors import UserError

KINDS = {'1': 'black and white', 'L': 'greyscale', 'P': 'palette', 'CMYK': 'CMYK', 'YCbCr': 'YCbCr', 'LAB': 'Lab'}


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Put the file's name before the reason why it gives no image."""
    try:
        yield
    except UnreadableImageError as error:
        raise UserError(f'{name}: {error}') from error


def check_mode(image: Image.Image, name: str, convert: bool) -> bool:
    """Whether a file needs conversion to become 8-bit RGB.

    Args:
        image: Image from `open_image`; its pixels are read only if it has an alpha channel.
        convert: Allow what PIL converts without loss of levels: greyscale, palette, CMYK, opaque alpha.
    """
    depth = bits(image)
    if depth > 8:
        raise UserError(f'{name}: expected 8 bits a channel, got {depth}; round it to 8-bit RGB as your protocol does.')
    with naming(name):
        check_range(image)
        if is_transparent(image):
            raise UserError(f'{name}: expected an opaque image, got transparent pixels; put it on a background first.')
    alpha = has_alpha(image)
    if image.mode == 'RGB' and not alpha:
        return False
    if not convert:
        got = f'an alpha channel ({image.mode})' if alpha else f'{KINDS.get(image.mode, "mode")} ({image.mode})'
        raise UserError(f'{name}: expected RGB, got {got}; convert the files, or allow it with --convert-rgb.')
    return True


def decode(data: bytes, name: str) -> np.ndarray:
    """The pixels of a file that `check_mode` let pass, as they are stored: uint8 (H, W, 3)."""
    with naming(name):
        return np.asarray(to_rgb(open_image(data), 'ignore'))
