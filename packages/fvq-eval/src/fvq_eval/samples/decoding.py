"""Image files to RGB pixels without a guess: what is not plain 8-bit RGB is refused, or converted when asked to."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
from PIL import Image

from fvq_core.data.image_dataset import DAMAGED
from fvq_core.errors import UserError

KINDS = {'1': 'black and white', 'L': 'greyscale', 'P': 'palette', 'CMYK': 'CMYK', 'YCbCr': 'YCbCr', 'LAB': 'Lab'}
TIFF_BITS = 258  # the tag BitsPerSample
OBJECT = re.compile(r' *<_io\.BytesIO[^>]*>')  # how PIL calls a file that it has not opened itself


@contextmanager
def opened(data: bytes, name: str) -> Iterator[Image.Image]:
    """An image file; whatever PIL says of a damaged one becomes one line.

    Raises:
        UserError: It is no image, or truncated.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            yield image
    except UserError:
        raise
    except DAMAGED as error:
        reason = ' '.join(OBJECT.sub('', str(error)).split())
        raise UserError(
            f'{name}: expected a whole image file, got one that is truncated or damaged ({reason}); write it again, or '
            'remove it.'
        ) from error


def check_mode(image: Image.Image, name: str, convert: bool) -> bool:
    """Whether a file needs conversion to become 8-bit RGB.

    Args:
        image: Opened; its pixels are read only where it has an alpha channel.
        name: For messages.
        convert: Allow what `Image.convert` does without loss of levels: greyscale, palette, CMYK, opaque alpha.

    Raises:
        UserError: It is not RGB, and conversion was not asked for or would be a guess.
    """
    depth = bits(image)
    if depth > 8:
        raise UserError(
            f'{name}: expected 8 bits a channel, got {depth}; write it as 8-bit RGB, rounding as your protocol says.'
        )
    if getattr(image, 'n_frames', 1) > 1:
        raise UserError(
            f'{name}: expected one picture, got {cast(Any, image).n_frames} frames; write one file for each.'
        )
    alpha = image.mode in ('RGBA', 'LA', 'PA', 'La', 'RGBa') or 'transparency' in image.info
    if alpha and np.asarray(image.convert('RGBA'))[..., 3].min() < 255:
        raise UserError(
            f'{name}: expected an opaque image, got one with transparent pixels; put it on a background first.'
        )
    if image.mode == 'RGB' and not alpha:
        return False
    if not convert:
        got = f'an alpha channel ({image.mode})' if alpha else f'{KINDS.get(image.mode, "mode")} ({image.mode})'
        raise UserError(f'{name}: expected RGB, got {got}; convert the files, or allow it with --convert-rgb.')
    return True


def bits(image: Image.Image) -> int:
    """Bits a channel in the file; PIL opens some deep images as 8-bit RGB without a word."""
    if image.mode.startswith(('I', 'F')):
        return 32 if image.mode in ('I', 'F') else 16
    tile = repr(cast(Any, image).tile)
    if image.format == 'TIFF':
        return max(cast(Any, image).tag_v2.get(TIFF_BITS, (8,)))
    return 16 if ';16' in tile or '65535' in tile else 8


def decode(data: bytes, name: str) -> np.ndarray:
    """The pixels of a file that `check_mode` let pass, uint8 (H, W, 3).

    Raises:
        UserError: It is truncated or damaged.
    """
    with opened(data, name) as image:
        return np.asarray(image.convert('RGB'))
