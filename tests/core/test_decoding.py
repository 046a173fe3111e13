"""The decoder of image files: the right pixels, or the reason why there are none."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps, PngImagePlugin

from fvq_core.data import decoding
from fvq_core.data.decoding import RefusedImageError, UnreadableImageError, decode, open_image
from fvq_core.data.image_folder import ImageFolder
from fvq_core.errors import UserError
from fvq_eval.samples.read_image import read_image
from fvq_generators.extraction.multi_crop import ImageWindows, parse_crops

from ..pictures import picture, same_pixels

RGB = picture(30, 40)
GREY = np.asarray(RGB)[..., 0]


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))


def png(bits: int, colour: int, row: bytes, *extra: bytes, size: tuple[int, int] = (2, 2)) -> bytes:
    """A PNG whose rows are all the same, written by hand for what PIL does not write."""
    header = chunk(b'IHDR', struct.pack('>IIBBBBB', *size, bits, colour, 0, 0, 0))
    pixels = chunk(b'IDAT', zlib.compress((b'\0' + row) * size[1]))
    return b'\x89PNG\r\n\x1a\n' + header + b''.join(extra) + pixels + chunk(b'IEND', b'')


def tiff(order: str, values: np.ndarray, bits: int, sample_format: int, photometric: int = 1) -> bytes:
    """A greyscale TIFF written by hand."""
    height, width = values.shape
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric), (273, 134), (277, 1), (278, height)]
    tags += [(279, values.nbytes), (339, sample_format)]
    header = (b'II*\0' if order == '<' else b'MM\0*') + struct.pack(f'{order}IH', 8, len(tags))
    entries = b''.join(struct.pack(f'{order}HHII', tag, 4, 1, value) for tag, value in tags)
    return header + entries + bytes(4) + values.tobytes()


def planar_tiff(planes: np.ndarray) -> bytes:
    """An uncompressed RGB TIFF of three planes (3, H, W), one behind the other, written by hand."""
    (_, height, width), depth = planes.shape, planes.itemsize
    data, starts = 8 + 2 + 10 * 12 + 4, 8 + 2 + 10 * 12 + 4 + planes.nbytes
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, starts + 24), (259, 3, 1, 1), (262, 3, 1, 2)]
    tags += [(273, 4, 3, starts), (277, 3, 1, 3), (278, 4, 1, height), (279, 4, 3, starts + 12), (284, 3, 1, 2)]
    offsets = struct.pack('<3I', *(data + number * planes[0].nbytes for number in range(3)))
    sizes, bits = struct.pack('<3I', *[planes[0].nbytes] * 3), struct.pack('<3H', *[8 * depth] * 3)
    entries = b''.join(struct.pack('<HHII', *tag) for tag in tags)
    return b'II*\0' + struct.pack('<IH', 8, 10) + entries + bytes(4) + planes.tobytes() + offsets + sizes + bits


DEEP = GREY.astype(np.uint16) * 257
SIXTEEN_BITS = {
    'png': encoded(Image.fromarray(DEEP), 'PNG'),
    'pgm': encoded(Image.fromarray(DEEP), 'PPM'),
    'tiff, little-endian': encoded(Image.fromarray(DEEP), 'TIFF'),
    'tiff, big-endian': encoded(Image.fromarray(DEEP.astype('>u2')), 'TIFF'),
    'tiff, compressed': encoded(Image.fromarray(DEEP.astype('>u2')), 'TIFF', compression='tiff_lzw'),
    'tiff, white is zero': tiff('<', (65535 - DEEP).astype('<u2'), 16, 1, photometric=0),
}


@pytest.mark.parametrize('kind', SIXTEEN_BITS)
def test_sixteen_bits_of_grey_are_the_picture_of_eight(kind: str):
    pixels = np.asarray(decode(SIXTEEN_BITS[kind]))
    for channel in range(3):
        np.testing.assert_array_equal(pixels[..., channel], GREY)


def test_training_extraction_and_reconstruction_read_sixteen_bits_as_eight(tmp_path: Path):
    Image.fromarray(GREY).save(tmp_path / '08.png')
    (tmp_path / '16.png').write_bytes(SIXTEEN_BITS['png'])
    folder = ImageFolder(str(tmp_path))
    assert (folder[0]['image'] == folder[1]['image']).all()
    windows = ImageWindows(folder, parse_crops(['center'], 16))
    assert (windows[0]['windows'][0] == windows[1]['windows'][0]).all()
    assert same_pixels(*(read_image(tmp_path / name, 2, 64) for name in ('08.png', '16.png')))


def test_colour_of_sixteen_bits_keeps_its_upper_eight():
    assert np.asarray(decode(png(16, 2, bytes(range(12)))))[0].tolist() == [[0, 2, 4], [6, 8, 10]]


@pytest.mark.parametrize(
    ('data', 'words'),
    [
        (encoded(Image.fromarray(GREY.astype(np.float32)), 'TIFF'), 'got floats'),
        (tiff('<', GREY.astype('<u4'), 32, 1), 'got 32-bit integers'),
        (encoded(Image.fromarray(GREY.astype(np.int32)), 'TIFF'), 'got signed integers'),
        (tiff('<', GREY.astype('<i2'), 16, 2), 'got signed integers'),
        (tiff('<', GREY.astype('i1'), 8, 2), 'got signed integers'),
        (png(16, 0, b'\1\2\3\4', chunk(b'tRNS', b'\1\2')), 'transparent pixels'),
        (png(8, 2, bytes(range(6)), chunk(b'tRNS', b'\0\0\0\1\0\2')), 'transparent pixels'),
        (png(16, 2, bytes(range(12)), chunk(b'tRNS', bytes(6))), 'transparent pixels'),
        (encoded(RGB.convert('P'), 'PNG', transparency=bytes(256)), 'transparent pixels'),
        (encoded(Image.new('LA', (8, 8), (5, 254)), 'PNG'), 'transparent pixels'),
        (encoded(Image.new('RGBA', (8, 8), (5, 5, 5, 0)), 'WEBP', lossless=True), 'transparent pixels'),
        *(
            (encoded(RGB, kind, save_all=True, append_images=[RGB.rotate(180)]), 'several frames or pages')
            for kind in ('GIF', 'WEBP', 'TIFF', 'PNG')
        ),
        (png(1, 0, bytes(2501), size=(20_001, 20_001))[:100], '20001x20001 pixels, more than the 268,435,456'),
        (encoded(RGB.convert('YCbCr'), 'TIFF'), 'uncompressed TIFF of YCbCr'),
        (planar_tiff(np.moveaxis(np.asarray(RGB), 2, 0).astype('<u2') * 257), 'uncompressed TIFF of 16-bit planes'),
        (encoded(Image.new('1', (1, 1001)), 'PNG'), '1x1001 pixels, more than 1 to 1,000'),
    ],
    ids=lambda value: value if isinstance(value, str) else '',
)
def test_what_has_no_certain_pixels_is_refused_with_the_reason(data: bytes, words: str):
    with pytest.raises(RefusedImageError, match=words):
        decode(data)


@pytest.mark.parametrize(
    ('data', 'words'),
    [
        (b'', 'an empty file'),
        (b'version https://git-lfs.github.com/spec/v1\n', 'git lfs pull'),
        (b'\0\0\0\x20ftypheic' + bytes(99), 'HEIC, which Pillow does not read'),
        (b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n', 'another format'),
        (b'<html>not found</html>', 'cannot identify image file'),
        *((encoded(RGB, kind)[:900], 'truncated or damaged') for kind in ('PNG', 'JPEG', 'WEBP', 'BMP', 'PPM', 'TIFF')),
    ],
    ids=lambda value: value if isinstance(value, str) else '',
)
def test_what_is_not_a_whole_image_file_is_reported(data: bytes, words: str):
    with pytest.raises(UnreadableImageError, match=words) as raised:
        decode(data)
    assert not isinstance(raised.value, RefusedImageError)


MODES = {
    'PNG': ['1', 'L', 'LA', 'P', 'RGBA'],
    'JPEG': ['1', 'L', 'CMYK', 'YCbCr'],
    'TIFF': ['1', 'L', 'LA', 'P', 'RGBA', 'CMYK', 'PA'],
    'WEBP': ['L', 'RGBA'],
    'GIF': ['1', 'L', 'P', 'RGBA'],
    'AVIF': ['L', 'RGBA'],
}


@pytest.mark.parametrize(('kind', 'mode'), [(kind, mode) for kind, modes in MODES.items() for mode in modes])
def test_other_modes_become_rgb_as_pil_converts_them(kind: str, mode: str):
    data = encoded(RGB.convert(mode), kind)
    with Image.open(io.BytesIO(data)) as image:
        assert same_pixels(decode(data), image.convert('RGB'))


def test_planes_of_eight_bits_are_the_picture():
    planes = np.ascontiguousarray(np.moveaxis(np.asarray(RGB), 2, 0))
    assert np.array_equal(np.asarray(decode(planar_tiff(planes))), np.asarray(RGB))


def test_unused_transparency_is_dropped():
    for data in (
        png(16, 0, b'\1\2\3\4', chunk(b'tRNS', b'\1\7')),
        encoded(RGB.convert('P'), 'PNG', transparency=b'\xff' * 256),
    ):
        assert decode(data).mode == 'RGB'


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP', 'TIFF', 'AVIF'])
@pytest.mark.parametrize('tag', range(1, 9))
def test_exif_orientation_is_applied_as_pil_does_or_ignored(kind: str, tag: int):
    exif = Image.Exif()
    exif[0x0112] = tag
    data = encoded(RGB, kind, exif=exif)
    with Image.open(io.BytesIO(data)) as image:
        assert same_pixels(decode(data, 'ignore'), image.convert('RGB'))
        assert same_pixels(decode(data), ImageOps.exif_transpose(image).convert('RGB'))


@given(st.binary(max_size=60))
@settings(max_examples=200)
def test_damaged_exif_leaves_the_photo_as_it_is(junk: bytes):
    image = open_image(encoded(RGB, 'PNG'))
    for start in (b'', b'Exif\0\0', b'Exif\0\0II*\0\x08\0\0\0', b'MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\0'):
        image.info['exif'] = start + junk
        assert 0 <= decoding.orientation(image) < 2**16


def test_photo_with_previews_gives_the_photo():
    data = encoded(RGB, 'MPO', save_all=True, append_images=[RGB.resize((8, 8))])
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == 'MPO'
        assert same_pixels(decode(data), image.convert('RGB'))


def test_large_text_and_profiles_of_png_do_not_matter():
    text = PngImagePlugin.PngInfo()
    text.add_text('a', 'a' * 2_000_000, zip=True)
    text.add_itxt('b', 'b' * 2_000_000, zip=True)
    data = encoded(RGB, 'PNG', pnginfo=text, icc_profile=b'c' * 2_000_000)
    with pytest.raises(ValueError, match='too large'), Image.open(io.BytesIO(data)) as image:
        image.load()
    assert same_pixels(decode(data), RGB)


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'TIFF', 'BMP', 'PPM', 'MPO'])
@pytest.mark.parametrize('limit', [100, 1000])  # PIL refuses twice its limit, and warns above it
def test_scan_larger_than_pils_limit_is_read_without_a_warning(kind: str, limit: int, monkeypatch: pytest.MonkeyPatch):
    data = encoded(RGB, kind)
    expected = decode(data)
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', limit)
    with pytest.raises((Image.DecompressionBombError, Image.DecompressionBombWarning)):
        Image.open(io.BytesIO(data))
    assert same_pixels(decode(data), expected)


def test_reason_is_logged_and_named_by_whoever_reads_the_file(tmp_path: Path):
    (tmp_path / 'a.png').write_bytes(encoded(Image.new('LA', (8, 8), 5), 'PNG'))
    folder = ImageFolder(str(tmp_path))
    assert folder[0]['unreadable'] == [str(tmp_path / 'a.png')]
    assert 'transparent pixels' in folder[0]['reasons'][0]
    assert 'transparent pixels' in ImageWindows(folder, parse_crops(['center'], 8))[0]['reason']
    with pytest.raises(UserError, match=r'a\.png cannot be read as an image: .*transparent pixels'):
        read_image(tmp_path / 'a.png', 2, 64)


def test_pipes_and_files_too_large_for_an_image_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    os.mkfifo(tmp_path / 'pipe')
    (tmp_path / 'linked.png').symlink_to('pipe')
    (tmp_path / 'large.png').write_bytes(encoded(RGB, 'PNG'))
    monkeypatch.setattr(decoding, 'MAX_BYTES', 100)
    large, linked = (ImageFolder(str(tmp_path))[number]['reasons'][0] for number in range(2))
    assert 'got a pipe or a device' in linked
    assert 'bytes, more than the 100 that an image file may have' in large
    with pytest.raises(UserError, match=r'large\.png cannot be read as an image: it has .* bytes'):
        read_image(tmp_path / 'large.png', 2, 64)


def test_argument_for_the_orientation_is_checked(tmp_path: Path):
    with pytest.raises(UserError, match="exif_orientation must be 'apply' or 'ignore', got 'upright'"):
        ImageFolder(str(tmp_path), exif_orientation='upright')  # pyrefly: ignore[bad-argument-type]
