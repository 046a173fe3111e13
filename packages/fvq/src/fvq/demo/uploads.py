"""Photos of strangers: read within bounds, or refused in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from fvq_core.data.decoding import (
    EXIF_TRANSPOSES,
    RefusedImageError,
    UnreadableImageError,
    check_range,
    decoding_errors,
    is_transparent,
    open_image,
    orientation,
    to_rgb,
)
from fvq_core.errors import UserError

MAX_BYTES = 32 * 2**20
MAX_PIXELS = 64 * 10**6  # a quarter of a gigabyte while PIL decodes them
KEPT_SIDE = 1536  # what is kept of a photo for as long as its user stays
WHITE = (255, 255, 255, 255)


def read_photo(path: str | Path) -> np.ndarray:
    """The pixels of an uploaded file, upright, on white where it is transparent: uint8 RGB (H, W, 3), sides up to `KEPT_SIDE`.

    Raises:
        UserError: Larger than `MAX_BYTES` or `MAX_PIXELS`, damaged, or of a kind that cannot be read; in words for the page.
    """
    size = Path(path).stat().st_size
    if size > MAX_BYTES:
        raise UserError(f'the file has {size / 2**20:.0f} MiB; this page takes up to {MAX_BYTES // 2**20} MiB.')
    try:
        image = photo_of_bytes(Path(path).read_bytes())
    except UnreadableImageError as error:
        raise UserError(f'this file cannot be shown: {error}') from error
    except MemoryError as error:
        raise UserError('this photo needs more memory than there is; shrink it.') from error
    image.thumbnail((KEPT_SIDE, KEPT_SIDE), Image.Resampling.BICUBIC)
    return np.asarray(image)


def photo_of_bytes(data: bytes) -> Image.Image:
    """The RGB photo in the bytes of a file; raises an `UnreadableImageError` if there is none, or one that is too large."""
    image = open_image(data)  # reads the header only
    if image.width * image.height > MAX_PIXELS:
        given = f'it has {image.width}x{image.height} pixels'
        raise RefusedImageError(f'{given}, this page takes up to {MAX_PIXELS // 10**6} million; shrink it.')
    with decoding_errors():
        flat = on_white(image) if is_transparent(image) and not image.mode.startswith('I') else None
    return to_rgb(image) if flat is None else flat


def on_white(image: Image.Image) -> Image.Image:
    """An image with transparent pixels, upright, on a white background."""
    check_range(image)
    rgba = image.convert('RGBA')
    flat = Image.alpha_composite(Image.new('RGBA', rgba.size, WHITE), rgba).convert('RGB')
    turn = EXIF_TRANSPOSES.get(orientation(image))
    return flat if turn is None else flat.transpose(turn)
