"""Image sets: every form gives the same pixels, any block can be read on its own, and bad ones are refused by name."""

from __future__ import annotations

import io
import random
import struct
import tarfile
import tracemalloc
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fvq_core.data.photos import BundledPhotos
from fvq_core.errors import UserError
from fvq_core.registry import TRANSFORMS
from fvq_eval.generation.reference import load_statistics
from fvq_eval.samples import BLOCK, Samples, open_samples
from fvq_eval.samples.crc32_combine import joined_crc
from fvq_eval.samples.samples import content_hash

from .image_sets import random_pixels, save_folder, save_npz, save_tar, save_zip

COUNT = BLOCK + 9  # two blocks, one of them not full


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The index of tar files is kept in the user's cache folder."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))


def everything(samples: Samples) -> np.ndarray:
    """All pixels, uint8 (N, H, W, 3)."""
    return torch.cat(list(samples.read(range(samples.blocks)))).permute(0, 2, 3, 1).numpy()


def refusal(path: Path | str, convert: bool = False) -> str:
    """Why a set is refused, at the latest when its pixels are read."""

    def use() -> None:
        samples = open_samples(str(path), convert)
        list(samples.digests(range(samples.blocks)))
        everything(samples)

    with pytest.raises(UserError) as error:
        use()
    assert '\n' not in str(error.value)
    return str(error.value)


def test_folder_npz_and_tar_hold_the_same_pixels(tmp_path: Path) -> None:
    pixels = random_pixels(COUNT)
    paths = [
        save_folder(pixels, tmp_path / 'folder'),
        save_npz(pixels, tmp_path / 'plain.npz'),
        save_npz(pixels, tmp_path / 'packed.npz', compressed=True),
        save_tar(pixels, tmp_path / 'images.tar', tmp_path / 'files'),
        save_zip(tmp_path / 'images.zip', tmp_path / 'files'),
    ]
    for path in paths:
        samples = open_samples(path)
        assert (len(samples), samples.height, samples.width, samples.blocks) == (COUNT, 16, 16, 2)
        np.testing.assert_array_equal(everything(samples), pixels)


@pytest.mark.parametrize('inside', ['', 'all/of/them/'])
def test_a_zip_of_class_folders_is_the_folder(tmp_path: Path, inside: str) -> None:
    pixels, labels = random_pixels(7), np.array([1, 0, 0, 2, 1, 1, 0])
    folder = open_samples(save_folder(pixels, tmp_path / 'folder', labels))
    zipped = open_samples(save_zip(tmp_path / 'images.zip', tmp_path / 'folder', inside))
    np.testing.assert_array_equal(everything(zipped), everything(folder))
    np.testing.assert_array_equal(zipped.labels(), folder.labels())
    assert content_hash(list(zipped.digests([0]))) == content_hash(list(folder.digests([0])))


def test_a_zip_writes_nothing_wherever_its_names_lead(tmp_path: Path) -> None:
    save_folder(random_pixels(1), tmp_path / 'folder')
    (file,) = (tmp_path / 'folder').iterdir()
    (tmp_path / 'here').mkdir()
    with zipfile.ZipFile(tmp_path / 'here/images.zip', 'w') as archive:
        for name in ('../outside.png', '/outside.png', 'inside.png', '.hidden.png', '__MACOSX/x.png', 'note.txt'):
            archive.write(file, name)
    before = sorted(tmp_path.rglob('*'))
    assert len(everything(open_samples(str(tmp_path / 'here/images.zip')))) == 3
    assert sorted(tmp_path.rglob('*')) == before


def test_a_zip_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    save_folder(random_pixels(3), tmp_path / 'folder')
    path = Path(save_zip(tmp_path / 'images.zip', tmp_path / 'folder'))
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    assert 'images.zip cannot be read as a zip' in refusal(path)
    path.write_bytes(whole[:200] + b'xxxx' + whole[204:])
    assert 'images.zip:000002.png: ' in refusal(path)
    flag = whole.index(b'PK\x01\x02') + 8  # "encrypted", in the directory
    path.write_bytes(whole[:flag] + b'\x01' + whole[flag + 1 :])
    assert 'is encrypted' in refusal(path)
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('note.txt', 'x')
    assert 'expected images (.jpg' in refusal(path)
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('bomb.png', bytes(2**28 + 1))
    assert 'bytes packed into' in refusal(path)


def test_a_pickle_is_a_program_and_not_samples(tmp_path: Path) -> None:
    path = tmp_path / 'imagenet256.pkl'
    path.write_bytes(b'\x80')
    assert 'got a pickle, which is a program and is not run; draw samples' in refusal(path)


def test_tar_shards_are_one_set_in_the_order_of_their_names(tmp_path: Path) -> None:
    pixels = random_pixels(6)
    for number in range(2):
        save_tar(pixels[3 * number : 3 * number + 3], tmp_path / f'part-{number}.tar', tmp_path / f'files{number}')
    shards = tmp_path / 'shards'
    shards.mkdir()
    for number in range(2):
        (tmp_path / f'part-{number}.tar').rename(shards / f'part-{number}.tar')
    for path in (shards, shards / 'part-{0..1}.tar', shards / 'part-*.tar'):
        np.testing.assert_array_equal(everything(open_samples(str(path))), pixels)


@pytest.mark.parametrize('form', ['folder', 'plain', 'packed', 'tar'])
def test_a_block_read_on_its_own_is_the_same_block(tmp_path: Path, form: str) -> None:
    pixels = random_pixels(COUNT)
    path = {
        'folder': lambda: save_folder(pixels, tmp_path / 'folder'),
        'plain': lambda: save_npz(pixels, tmp_path / 'plain.npz'),
        'packed': lambda: save_npz(pixels, tmp_path / 'packed.npz', compressed=True),
        'tar': lambda: save_tar(pixels, tmp_path / 'images.tar', tmp_path / 'files'),
    }[form]()
    samples = open_samples(path)
    (last,) = samples.read([1])
    np.testing.assert_array_equal(last.permute(0, 2, 3, 1).numpy(), pixels[BLOCK:])
    assert next(iter(samples.digests([1]))) == list(samples.digests([0, 1]))[1]


def test_one_pixel_changes_the_content_hash_and_only_the_digest_of_its_block(tmp_path: Path) -> None:
    pixels = random_pixels(COUNT)
    before = list(open_samples(save_npz(pixels, tmp_path / 'a.npz')).digests(range(2)))
    pixels[BLOCK + 3, 2, 2, 2] ^= 1
    after = list(open_samples(save_npz(pixels, tmp_path / 'b.npz', compressed=True)).digests(range(2)))
    assert before[0] == after[0]
    assert before[1] != after[1]
    assert content_hash(before) != content_hash(after)


def test_labels_come_from_class_folders_arr_1_and_cls_members(tmp_path: Path) -> None:
    pixels, labels = random_pixels(5), np.array([0, 0, 1, 1, 2])
    assert open_samples(save_folder(pixels, tmp_path / 'classes', labels)).labels().tolist() == labels.tolist()
    assert open_samples(save_npz(pixels, tmp_path / 'a.npz', labels)).labels().tolist() == labels.tolist()
    with tarfile.open(tmp_path / 'a.tar', 'w') as tar:
        for number, image in enumerate(pixels):
            buffer = io.BytesIO()
            Image.fromarray(image).save(buffer, 'png')
            for name, data in ((f'{number}.png', buffer.getvalue()), (f'{number}.cls', str(labels[number]).encode())):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    assert open_samples(str(tmp_path / 'a.tar')).labels().tolist() == labels.tolist()
    with pytest.raises(UserError, match='5 of 5 images have no class'):
        open_samples(save_npz(pixels, tmp_path / 'b.npz')).labels()


@pytest.mark.parametrize('compressed', [False, True])
def test_an_npz_is_never_read_whole(tmp_path: Path, compressed: bool) -> None:
    pixels = random_pixels(30 * BLOCK, side=32)
    samples = open_samples(save_npz(pixels, tmp_path / 'big.npz', compressed=compressed))
    tracemalloc.start()
    for _ in samples.read(range(samples.blocks)):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < pixels.nbytes / 4


def rgb() -> Image.Image:
    return Image.fromarray(random_pixels(1)[0])


def png_of_16_bits() -> bytes:
    """An RGB PNG of 16 bits a channel, 2 x 2, which PIL opens as if it had 8."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))

    rows = b''.join(b'\0' + bytes(12) for _ in range(2))
    header = chunk(b'IHDR', struct.pack('>IIBBBBB', 2, 2, 16, 2, 0, 0, 0))
    return b'\x89PNG\r\n\x1a\n' + header + chunk(b'IDAT', zlib.compress(rows)) + chunk(b'IEND', b'')


@pytest.mark.parametrize(
    ('image', 'suffix', 'got'),
    [
        (rgb().convert('L'), 'png', 'greyscale (L)'),
        (rgb().convert('RGBA'), 'png', 'an alpha channel (RGBA)'),
        (rgb().convert('LA'), 'png', 'an alpha channel (LA)'),
        (rgb().convert('P'), 'png', 'palette (P)'),
        (rgb().convert('CMYK'), 'jpg', 'CMYK (CMYK)'),
        (Image.fromarray(np.zeros((16, 16), np.uint16)), 'png', '8 bits a channel, got 16'),
        (rgb().resize((8, 16)), 'png', '16x16 like the first image'),
    ],
)
def test_files_that_are_not_8_bit_rgb_of_one_size(tmp_path: Path, image: Image.Image, suffix: str, got: str) -> None:
    save_folder(random_pixels(2), tmp_path / 'set')
    image.save(tmp_path / f'set/9_bad.{suffix}')
    message = refusal(tmp_path / 'set')
    assert got in message
    assert f'9_bad.{suffix}' in message


def test_a_png_of_16_bits_is_refused_though_pil_opens_it_as_rgb(tmp_path: Path) -> None:
    (tmp_path / 'deep.png').write_bytes(png_of_16_bits())
    with Image.open(tmp_path / 'deep.png') as image:
        assert image.mode == 'RGB'
    assert 'expected 8 bits a channel, got 16' in refusal(tmp_path)
    assert 'expected 8 bits a channel, got 16' in refusal(tmp_path, convert=True)


def test_conversion_when_asked_for_is_pils_and_is_counted(tmp_path: Path) -> None:
    images = [rgb(), rgb().convert('L'), rgb().convert('RGBA'), rgb().convert('P')]
    for number, image in enumerate(images):
        image.save(tmp_path / f'{number}.png')
    samples = open_samples(str(tmp_path), convert=True)
    list(samples.digests([0]))
    assert samples.converted == 3
    np.testing.assert_array_equal(everything(samples), [np.asarray(image.convert('RGB')) for image in images])


def test_transparent_pixels_are_refused_even_with_conversion(tmp_path: Path) -> None:
    image = rgb().convert('RGBA')
    image.putpixel((3, 3), (1, 2, 3, 4))
    image.save(tmp_path / 'a.png')
    for convert in (True, False):  # nothing is offered that would not help
        message = refusal(tmp_path, convert)
        assert 'transparent pixels' in message
        assert '--convert-rgb' not in message


def test_a_crop_makes_one_size_of_many_and_belongs_to_the_content_hash(tmp_path: Path) -> None:
    crop = dict(type='ADMCenterCrop', size=16)
    images = [Image.fromarray(random_pixels(1, side)[0]) for side in (16, 24, 40)]
    for number, image in enumerate(images):
        image.save(tmp_path / f'{number}.png')
    samples = open_samples(str(tmp_path), crop=crop)
    cut = TRANSFORMS.build(crop)
    np.testing.assert_array_equal(everything(samples), [np.asarray(cut(image, random.Random(0))) for image in images])
    assert list(samples.digests([0])) != list(open_samples(str(tmp_path), crop=dict(crop, size=8)).digests([0]))
    Image.fromarray(random_pixels(1, 8)[0]).save(tmp_path / 'small.png')
    with pytest.raises(UserError, match=r'small\.png: ADMCenterCrop: the image is 8x8'):
        everything(open_samples(str(tmp_path), crop=crop))


@pytest.mark.parametrize('suffix', ['png', 'jpg'])
def test_a_truncated_file_is_named(tmp_path: Path, suffix: str) -> None:
    save_folder(random_pixels(2), tmp_path / 'set')
    rgb().save(tmp_path / f'whole.{suffix}')
    data = (tmp_path / f'whole.{suffix}').read_bytes()
    (tmp_path / f'set/9.{suffix}').write_bytes(data[: len(data) * 3 // 4])
    message = refusal(tmp_path / 'set')
    assert f'9.{suffix}: expected a whole image file, got one that is truncated or damaged' in message


def test_a_text_called_jpg_is_refused_without_words_of_the_machine(tmp_path: Path) -> None:
    (tmp_path / 'a.jpg').write_text('hello')
    message = refusal(tmp_path)
    assert 'got one that is truncated or damaged (cannot identify image file); write it again' in message
    assert '0x' not in message


def test_paths_that_are_no_image_set(tmp_path: Path) -> None:
    assert 'does not exist' in refusal(tmp_path / 'nothing')
    (tmp_path / 'empty').mkdir()
    assert 'got an empty folder' in refusal(tmp_path / 'empty')
    (tmp_path / 'text').mkdir()
    (tmp_path / 'text/a.txt').write_text('')
    assert 'no image' in refusal(tmp_path / 'text')
    np.save(tmp_path / 'a.npy', random_pixels(1))
    assert "got 'a.npy'" in refusal(tmp_path / 'a.npy')
    (tmp_path / 'a.tar').write_bytes(b'no tar')
    assert 'not a tar file' in refusal(tmp_path / 'a.tar')


@pytest.mark.parametrize(
    ('arrays', 'got'),
    [
        (dict(images=random_pixels(2)), "expected 'arr_0' (uint8 images, N x H x W x 3), got images"),
        (dict(arr_0=np.full((2, 4, 4, 3), 0.5, np.float32)), 'got float32 in [0.5, 0.5]'),
        (dict(arr_0=np.array([np.nan, -1, 1] * 16, np.float32).reshape(1, 4, 4, 3)), 'with 16 NaN'),
        (dict(arr_0=random_pixels(2).astype(np.int64)), 'got int64'),
        (dict(arr_0=random_pixels(2).transpose(0, 3, 1, 2)), 'channels first'),
        (dict(arr_0=random_pixels(2)[..., :1]), 'greyscale'),
        (dict(arr_0=np.zeros((2, 4, 4, 4), np.uint8)), 'alpha channel'),
        (dict(arr_0=random_pixels(2)[0]), 'got 16x16x3'),
        (dict(arr_0=np.zeros((0, 4, 4, 3), np.uint8)), 'it is empty'),
        (dict(arr_0=random_pixels(2), arr_1=np.zeros(3, np.int64)), "expected 'arr_1' to be 2 whole numbers"),
        (dict(arr_0=random_pixels(2), arr_1=np.zeros(2)), 'got float64'),
        (dict(arr_0=np.array([{}, {}])), "pickled Python objects in 'arr_0'"),
        (dict(arr_0=random_pixels(2), arr_1=np.array([{}, {}])), "pickled Python objects in 'arr_1'"),
    ],
)
@pytest.mark.parametrize('save', [np.savez, np.savez_compressed])
def test_an_npz_of_something_else(tmp_path: Path, save: Any, arrays: dict[str, np.ndarray], got: str) -> None:
    save(tmp_path / 'a.npz', **arrays)
    message = refusal(tmp_path / 'a.npz')
    assert got in message
    assert 'a.npz' in message


def test_a_damaged_npz(tmp_path: Path) -> None:
    data = Path(save_npz(random_pixels(200), tmp_path / 'a.npz', compressed=True)).read_bytes()
    (tmp_path / 'cut.npz').write_bytes(data[: len(data) // 2])
    assert 'cut.npz cannot be read as npz' in refusal(tmp_path / 'cut.npz')
    (tmp_path / 'text.npz').write_text('no npz')
    assert 'text.npz cannot be read as npz: File is not a zip file' in refusal(tmp_path / 'text.npz')
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 0xFF
    (tmp_path / 'flipped.npz').write_bytes(flipped)
    assert 'flipped.npz cannot be read as npz' in refusal(tmp_path / 'flipped.npz')


def test_a_header_that_promises_more_than_there_is(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, random_pixels(2))
    with zipfile.ZipFile(tmp_path / 'a.npz', 'w') as archive:
        archive.writestr('arr_0.npy', buffer.getvalue()[:-1])
    assert 'fewer or more bytes' in refusal(tmp_path / 'a.npz')


@pytest.mark.parametrize(
    ('arrays', 'got'),
    [
        (dict(mu=np.zeros(3)), "got no 'sigma'"),
        (dict(mu=np.zeros(3), sigma=np.eye(4)), "'mu' (3,) and its covariance (4, 4) do not fit"),
        (dict(mu=np.array([0, np.nan]), sigma=np.eye(2)), 'holds NaN or infinity'),
        (dict(mu_s=np.zeros(3), sigma_s=np.eye(3)), 'got an npz with mu_s, sigma_s'),
        (dict(mu=np.zeros(3, int), sigma=np.eye(3)), 'is not of floats'),
    ],
)
def test_statistics_that_are_none(tmp_path: Path, arrays: dict[str, np.ndarray], got: str) -> None:
    np.savez(tmp_path / 'a.npz', **arrays)
    with pytest.raises(UserError) as error:
        load_statistics(str(tmp_path / 'a.npz'))
    assert got in str(error.value)


def test_bundled_crops_are_of_their_photo_and_hashed_by_their_pixels() -> None:
    samples = open_samples('bundled', crop=dict(type='ADMCenterCrop', size=32))
    assert (len(samples), samples.height, samples.width, samples.blocks) == (1000, 32, 32, 16)
    (block,) = samples.read([2])
    first = BundledPhotos('train', 32, 1000, short_side=36)[2 * BLOCK]
    assert torch.equal(block[0], first['image'])
    assert samples.labels()[2 * BLOCK] == first['label']
    other = open_samples('bundled', crop=dict(type='ADMCenterCrop', size=24))
    assert len({*samples.digests([0, 1]), *other.digests([0, 1])}) == 4
    with pytest.raises(UserError, match='set it with --crop 64'):
        open_samples('bundled')


def test_the_same_bytes_in_another_shape_are_another_set(tmp_path: Path) -> None:
    small = random_pixels(BLOCK, 8)
    digests = []
    for shape in (small.shape, (BLOCK // 4, 16, 16, 3), (BLOCK, 4, 16, 3), (BLOCK, 16, 4, 3)):
        digests.append(list(open_samples(save_npz(small.reshape(shape), tmp_path / 'set.npz')).digests([0])))
    assert len({content_hash(each) for each in digests}) == 4


@pytest.mark.parametrize('compressed', [False, True])
def test_one_flipped_bit_is_a_damaged_file(tmp_path: Path, compressed: bool) -> None:
    path = Path(save_npz(random_pixels(2 * BLOCK + 3), tmp_path / 'set.npz', compressed=compressed))
    samples = open_samples(str(path))
    samples.check_whole(list(samples.digests(range(3))))
    whole = path.read_bytes()
    member = samples.file.members['arr_0']
    start = samples.file.data_offset(member)
    for place in (start, (start + len(whole)) // 2) if not compressed else (len(whole) // 2,):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(
            UserError, match=r'set\.npz(: expected a whole npz file, got a damaged one| cannot be read as npz)'
        ):
            samples.check_whole(list(open_samples(str(path)).digests(range(3))))


def test_crcs_of_parts_make_that_of_the_whole() -> None:
    parts = [random.Random(size).randbytes(size) for size in (128, 0, 1, 4096, 4096, 17)]
    assert joined_crc([zlib.crc32(part) for part in parts], [len(part) for part in parts]) == zlib.crc32(
        b''.join(parts)
    )
