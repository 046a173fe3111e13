"""An image file of any size, as a tokenizer takes it."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from fvq_core.data.decoding import UnreadableImageError, decode, read_file
from fvq_core.data.photos import check_names, load_photos
from fvq_core.errors import UserError

BUNDLED = 'bundled:'


def bundled_photo(name: str) -> Image.Image:
    """A bundled photo by name."""
    check_names(BUNDLED.rstrip(':'), [name])
    return Image.fromarray(load_photos()[name])


def read_image(path: str | Path, multiple: int, max_side: int) -> Image.Image:
    """An image file, or a bundled photo as `bundled:NAME`, in RGB.

    It is shrunk to `max_side` if larger, and centre-cropped so that its sides are multiples of `multiple`.

    Raises:
        UserError: The file is missing, is not an image, or is too small for one code.
    """
    try:
        photo = str(path).removeprefix(BUNDLED)
        image = decode(read_file(path)) if photo == str(path) else bundled_photo(photo)
    except IsADirectoryError as error:
        raise UserError(f'{path} is a folder; give the image files in it, such as {path}/*.jpg.') from error
    except FileNotFoundError as error:
        raise UserError(f'{path} does not exist.') from error
    except OSError as error:
        raise UserError(f'{path} cannot be read: {error.strerror or error}.') from error
    except UnreadableImageError as error:
        raise UserError(f'{path} cannot be read as an image: {error}') from error
    if max(image.size) > max_side:
        image.thumbnail((max_side, max_side), Image.Resampling.BICUBIC)
    width, height = (side - side % multiple for side in image.size)
    if not width or not height:
        raise UserError(f'{path} is {image.width}x{image.height}, smaller than the {multiple} pixels of one code.')
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))
