"""The one decoder of image files: their bytes to 8-bit RGB, or the reason why they have no such pixels."""

from __future__ import annotations

import io
import os
import re
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from PIL import Image
from PIL.Image import Transpose

from ..errors import UserError

Orientation = Literal['apply', 'ignore']

# PIL's names. It reads more formats, but some of them start other programs (EPS) or are rarely maintained.
FORMATS = ('JPEG', 'PNG', 'WEBP', 'BMP', 'PPM', 'TIFF', 'GIF', 'AVIF')
MAX_PIXELS = 2**28  # PIL holds each pixel in four bytes, so a small file of zeros takes at most 1 GiB
MAX_BYTES = 2**31  # a TIFF of MAX_PIXELS in 16-bit colour has 1.6 GB
MAX_ASPECT = 1000  # long side to short side; crops scale the short side, and the long one with it
PNG_TEXT = (b'tEXt', b'zTXt', b'iTXt', b'iCCP')  # PIL unpacks these and refuses the file if they are large
BITS_PER_SAMPLE, PHOTOMETRIC, PLANAR, SAMPLE_FORMAT, ORIENTATION = 258, 262, 284, 339, 274  # TIFF; the last EXIF too
WHITE_IS_ZERO, YCBCR, PLANES, UNSIGNED = 0, 6, 2, (1, 4)  # values of them; 4 is "undefined", which all read as unsigned
EXIF_TRANSPOSES = {2: Transpose.FLIP_LEFT_RIGHT, 3: Transpose.ROTATE_180, 4: Transpose.FLIP_TOP_BOTTOM}
EXIF_TRANSPOSES |= {5: Transpose.TRANSPOSE, 6: Transpose.ROTATE_270, 7: Transpose.TRANSVERSE, 8: Transpose.ROTATE_90}
BYTES_IO_NAME = re.compile(r' *<_io\.BytesIO[^>]*>')  # how PIL names a file that it has not opened itself


class UnreadableImageError(UserError):
    """A file that cannot be decoded. The message is the reason, without the file's name."""


class RefusedImageError(UnreadableImageError):
    """An intact file that is too large, or whose 8-bit RGB would be a guess."""


@contextmanager
def decoding_errors() -> Iterator[None]:
    """Turn whatever PIL raises into an `UnreadableImageError`."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        # WebP keeps PIL's limit of 179 million.
        raise RefusedImageError(f'it has more pixels than PIL reads of this format ({error}); shrink it.') from error
    except Exception as error:  # PIL's parsers raise anything on damaged bytes: struct.error, IndexError, ...
        reason = ' '.join(BYTES_IO_NAME.sub('', str(error) or type(error).__name__).split())
        raise UnreadableImageError(damaged(reason)) from error


def read_file(path: str | Path) -> bytes:
    """The bytes of an image file; an `UnreadableImageError` if it is a pipe, a device, or larger than `MAX_BYTES`."""
    # Opening a pipe would wait for someone to write to it.
    with open(path, 'rb', opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableImageError('expected a file, got a pipe or a device.')
        check_bytes(status.st_size)
        return file.read()


def check_bytes(size: int) -> None:
    """Raise if a file is too large to be an image."""
    if size > MAX_BYTES:
        raise RefusedImageError(f'it has {size:,} bytes, more than the {MAX_BYTES:,} that an image file may have.')


def open_image(data: bytes) -> Image.Image:
    """Read the header of an image file from all of its bytes; the pixels are decoded by `to_rgb`.

    Raises:
        UnreadableImageError: Not a file of `FORMATS`, damaged, an animation, or larger than `MAX_PIXELS` or `MAX_ASPECT`.
    """
    Image.init()
    known = (Image.OPEN[name] for name in FORMATS if name in Image.OPEN)
    opener = next((factory for factory, accept in known if accept is not None and accept(data[:16]) is True), None)
    if opener is None:
        got = what_it_is(data)
        message = f'expected an image file, got {got}.' if got else damaged('cannot identify image file')
        raise UnreadableImageError(message)
    if data.startswith(b'\x89PNG') and any(kind in data for kind in PNG_TEXT):
        data = without_text(data)
    with decoding_errors():
        # Not Image.open: its own limit of pixels is a warning from 89 million on and an error from 179 million on.
        image = cast(Image.Image, opener(io.BytesIO(data), ''))
        has = f'it has {image.width}x{image.height} pixels, more than'
        if image.width * image.height > MAX_PIXELS:
            raise RefusedImageError(f'{has} the {MAX_PIXELS:,} that an image may have; shrink it.')
        if max(image.size) > MAX_ASPECT * min(image.size):
            raise RefusedImageError(f'{has} 1 to {MAX_ASPECT:,}; cut it up.')
        if image.format != 'MPO' and getattr(image, 'is_animated', False):  # MPO: a photo and its previews
            raise RefusedImageError('it has several frames or pages; write each picture into a file of its own.')
    return image


def damaged(reason: str) -> str:
    """The message of a file that PIL cannot read."""
    return (
        f'expected a whole image file, got one that is truncated or damaged ({reason}); write it again, or remove it.'
    )


def what_it_is(data: bytes) -> str:
    """What a file that is not of `FORMATS` is instead; empty if unknown."""
    if not data:
        return 'an empty file'
    if data.startswith(b'version https://git-lfs'):
        return 'a pointer of Git LFS; fetch the files with "git lfs pull"'
    brand = data[8:12] if data[4:8] == b'ftyp' else b''
    if brand in (b'heic', b'heix', b'heim', b'heis', b'hevc', b'hevx', b'mif1', b'msf1'):
        return 'HEIC, which Pillow does not read; convert it to JPEG or PNG'
    if brand in (b'avif', b'avis'):
        return 'AVIF, which this Pillow was built without; install a newer one or convert it'
    if data.startswith((b'%!PS', b'%PDF', b'8BPS', b'\0\0\0\x0cjP  ', b'\xff\x4f\xff\x51')) or b'<svg' in data[:512]:
        return 'another format (EPS, PDF, SVG, PSD or JPEG 2000); convert it to PNG'
    return ''


def without_text(png: bytes) -> bytes:
    """A PNG without its text and colour profile, which do not change a pixel."""
    kept, position = [png[:8]], 8
    while position + 8 <= len(png):
        size, kind = struct.unpack_from('>I4s', png, position)
        if kind not in PNG_TEXT:
            kept.append(png[position : position + 12 + size])
        position += 12 + size
    return b''.join(kept)


def to_rgb(image: Image.Image, exif_orientation: Orientation = 'apply') -> Image.Image:
    """Decode the pixels of an opened file.

    Greyscale, palette, CMYK and an opaque alpha channel become RGB as PIL converts them. Of 9 to 16 bits per channel
    the upper 8 are kept, as PIL does for colour. PIL rotates TIFF files upright in any case.

    Args:
        image: Image from `open_image`.
        exif_orientation: `'apply'` rotates a photo as its EXIF tag says; `'ignore'` keeps it as stored, as
            `Image.open(path).convert('RGB')` of released scripts does.

    Raises:
        UnreadableImageError: Damaged; floats, signed or 32-bit integers, whose range is unknown; or
            transparent pixels, whose colour depends on a background.
    """
    with decoding_errors():
        check_range(image)
        if image.format == 'TIFF':  # without memory for its pixels, it would ask for PIL's limit again
            image.im = Image.new(image.mode, cast(Any, image)._tile_size).im
        if is_transparent(image):
            raise RefusedImageError(
                'expected an opaque image, got one with transparent pixels; put it on a background.'
            )
        image.load()
        if image.mode.startswith('I'):
            image = high_bytes(image)
        elif has_alpha(image):
            image = image.convert('RGBA')
        rgb = image if image.mode == 'RGB' else image.convert('RGB')
    turn = EXIF_TRANSPOSES.get(orientation(image)) if exif_orientation == 'apply' else None
    return rgb if turn is None else rgb.transpose(turn)


def decode(data: bytes, exif_orientation: Orientation = 'apply') -> Image.Image:
    """An image file as RGB; see `open_image` and `to_rgb`."""
    return to_rgb(open_image(data), exif_orientation)


def check_range(image: Image.Image) -> None:
    """Raise for floats and for integers that are signed or have 32 bits, whose range is not known, and what Pillow misreads."""
    got = None
    if image.mode == 'F':
        got = 'floats'
    elif any(value not in UNSIGNED for value in tiff_tag(image, SAMPLE_FORMAT, (1,))):
        got = 'signed integers'
    elif image.mode == 'I' and image.format != 'PPM':  # PIL scales PPM to 16 bits
        got = '32-bit integers'
    planes = PLANES in tiff_tag(image, PLANAR, (1,)) and bits(image) > 8
    if (planes or YCBCR in tiff_tag(image, PHOTOMETRIC, (1,))) and cast(Any, image).tile[0][0] == 'raw':
        kind = '16-bit planes' if planes else 'YCbCr'
        raise RefusedImageError(f'it is an uncompressed TIFF of {kind}, which Pillow misreads; write it as PNG.')
    if got:
        raise RefusedImageError(f'expected pixels of 8 or 16 bits, got {got}, whose range is unknown; write 8 bits.')


def bits(image: Image.Image) -> int:
    """Bits per channel of a file that is opened and not loaded; PIL silently opens some deep images as 8-bit RGB."""
    if image.mode == 'F' or (image.mode == 'I' and image.format != 'PPM'):
        return 32
    tile = repr(cast(Any, image).tile)
    if image.format == 'TIFF':
        return max(tiff_tag(image, BITS_PER_SAMPLE, (8,)))
    return 16 if image.mode.startswith('I') or ';16' in tile or '65535' in tile else 8


def high_bytes(image: Image.Image) -> Image.Image:
    """Greyscale of 9 to 16 bits, reduced to 8."""
    values = np.asarray(image) >> (min(bits(image), 16) - 8)
    white_is_zero = WHITE_IS_ZERO in tiff_tag(image, PHOTOMETRIC, (1,))
    return Image.fromarray((255 - values if white_is_zero else values).astype(np.uint8))


def has_alpha(image: Image.Image) -> bool:
    """Whether an image has an alpha channel, or a colour that means transparency."""
    return image.mode in ('RGBA', 'LA', 'PA', 'La', 'RGBa') or 'transparency' in image.info


def is_transparent(image: Image.Image) -> bool:
    """Whether any pixel of an image is not opaque."""
    if not has_alpha(image):
        return False
    colour = image.info.get('transparency')
    if image.mode.startswith('I'):
        return bool((np.asarray(image) == colour).any())
    if isinstance(colour, tuple) and bits(image) > 8:
        return True  # PIL has only 8 bits of each pixel to compare it with
    return cast(int, image.convert('RGBA').getchannel('A').getextrema()[0]) < 255


def tiff_tag(image: Image.Image, tag: int, default: tuple[int, ...]) -> tuple[int, ...]:
    """The values of a TIFF tag; the default for other formats or if the tag is missing."""
    found = cast(Any, image).tag_v2.get(tag) if image.format == 'TIFF' else None
    return default if found is None else found if isinstance(found, tuple) else (found,)


def orientation(image: Image.Image) -> int:
    """The EXIF orientation: 1 is upright, 2 to 8 are mirrored or rotated; 1 if the data are damaged."""
    exif = b'' if image.format == 'TIFF' else image.info.get('exif', b'').removeprefix(b'Exif\0\0')
    order = {b'II*\0': '<', b'MM\0*': '>'}.get(exif[:4])
    if order is None or len(exif) < 10:
        return 1
    (start,) = struct.unpack_from(f'{order}I', exif, 4)
    entries = exif[start + 2 :]
    (count,) = struct.unpack(f'{order}H', exif[start : start + 2].ljust(2, b'\0'))
    for position in range(0, min(count * 12, len(entries) - 11), 12):
        tag, _, _, value = struct.unpack_from(f'{order}HHIH', entries, position)
        if tag == ORIENTATION:
            return value
    return 1
