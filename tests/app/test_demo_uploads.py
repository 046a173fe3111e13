"""Photos of strangers: read as they are meant, or refused in one line."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fvq.demo import uploads
from fvq.demo.uploads import KEPT_SIDE, MAX_BYTES, read_photo
from fvq_core.errors import UserError
from tests.pictures import gradient, picture


def saved(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


def test_a_photo_keeps_its_pixels_and_a_large_one_is_shrunk(tmp_path: Path):
    small = picture(40, 30)
    assert np.array_equal(read_photo(saved(small, tmp_path / 'a.png')), np.asarray(small))
    large = Image.fromarray(np.full((3000, 4000, 3), (10, 200, 90), np.uint8))  # twelve megapixels
    found = read_photo(saved(large, tmp_path / 'large.jpg', quality=90))
    assert found.shape == (KEPT_SIDE * 3 // 4, KEPT_SIDE, 3)
    assert np.abs(found.astype(int) - (10, 200, 90)).max() <= 3


def test_a_portrait_photo_is_turned_upright(tmp_path: Path):
    photo = gradient(60, 40)
    exif = Image.Exif()
    exif[274] = 6  # the camera was turned: rotate by 270 degrees to see it upright
    found = read_photo(saved(photo, tmp_path / 'portrait.png', exif=exif))
    assert found.shape == (60, 40, 3)
    assert np.array_equal(found, np.asarray(photo.transpose(Image.Transpose.ROTATE_270)))
    see_through = photo.convert('RGBA')
    see_through.putpixel((0, 0), (1, 2, 3, 0))
    found = read_photo(saved(see_through, tmp_path / 'alpha.png', exif=exif))
    assert found.shape == (60, 40, 3)
    assert found[0, 39].tolist() == [255, 255, 255]


def test_what_is_transparent_becomes_white(tmp_path: Path):
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[..., 0] = 200
    pixels[:4, :, 3] = 255
    pixels[6:, :, 3] = 128
    found = read_photo(saved(Image.fromarray(pixels), tmp_path / 'a.png'))
    assert (found[:4] == (200, 0, 0)).all()
    assert (found[4:6] == 255).all()
    assert (np.abs(found[6:].astype(int) - (227, 127, 127)) <= 1).all()
    palette = Image.new('P', (4, 4), 1)
    palette.putpalette([0, 0, 0, 9, 9, 9])
    assert (read_photo(saved(palette, tmp_path / 'p.png', transparency=1)) == 255).all()


def test_deep_and_cmyk_photos_are_read(tmp_path: Path):
    deep = Image.fromarray((np.arange(64).reshape(8, 8) * 1024).astype(np.uint16))
    found = read_photo(saved(deep, tmp_path / 'deep.png'))
    assert np.array_equal(found[..., 1], np.arange(64).reshape(8, 8) * 4)
    cmyk = Image.new('CMYK', (8, 8), (255, 0, 0, 0))
    assert (read_photo(saved(cmyk, tmp_path / 'cmyk.tif'))[0, 0] == (0, 255, 255)).all()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))


def bomb(width: int, height: int) -> bytes:
    """A small PNG that would be `width` x `height` pixels."""
    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    return (
        b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(b'\0' * 99)) + chunk(b'IEND', b'')
    )


def jpeg() -> bytes:
    buffer = io.BytesIO()
    picture(64, 64).save(buffer, 'JPEG')
    return buffer.getvalue()


@pytest.mark.parametrize(
    ('data', 'message'),
    [
        (b'\0\0\0\x18ftypheic\0\0\0\0mif1heic', 'got HEIC, which Pillow does not read; convert it to JPEG or PNG'),
        (b'', 'got an empty file'),
        (b'this is no image at all', 'truncated or damaged'),
        (jpeg()[:500], 'truncated or damaged'),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', 'another format'),
        (bomb(20_000, 20_000), '20000x20000 pixels, more than'),
        (bomb(10_000, 10_000), '10000x10000 pixels, this page takes up to 64 million'),
        (bomb(50_000, 2), 'more than 1 to 1,000'),
    ],
    ids=['HEIC', 'empty', 'text', 'cut off', 'SVG', 'bomb', 'small bomb', 'line'],
)
def test_what_is_no_photo_is_refused_in_one_line(tmp_path: Path, data: bytes, message: str):
    path = tmp_path / 'photo.jpg'
    path.write_bytes(data)
    with pytest.raises(UserError) as refusal:
        read_photo(path)
    assert message in str(refusal.value)
    assert '\n' not in str(refusal.value)
    assert str(tmp_path) not in str(refusal.value), "paths of the server are nobody else's business"


def test_animations_and_floats_are_refused(tmp_path: Path):
    frames = [picture(8, 8, seed) for seed in range(2)]
    animated = saved(frames[0], tmp_path / 'a.gif', save_all=True, append_images=frames[1:])
    with pytest.raises(UserError, match='several frames'):
        read_photo(animated)
    with pytest.raises(UserError, match='got floats'):
        read_photo(saved(Image.new('F', (8, 8)), tmp_path / 'f.tif'))


def test_the_size_of_a_file_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / 'large.png'
    with open(path, 'wb') as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(UserError, match='takes up to 32 MiB'):
        read_photo(path)
    monkeypatch.setattr(uploads, 'photo_of_bytes', lambda data: (_ for _ in ()).throw(MemoryError))
    with pytest.raises(UserError, match='more memory than there is'):
        read_photo(saved(picture(8, 8), tmp_path / 'b.png'))
