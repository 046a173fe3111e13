"""The fast decoder: the window and, to two grey levels, the pixels of PIL; PIL itself wherever it cannot have them."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from fvq_core.data.image_folder import ImageFolder
from fvq_core.data.jpeg import JPEGCrop, cut_pixels, decode
from fvq_core.data.photos import load_photos
from fvq_core.data.sample import to_tensor
from fvq_core.data.transforms import ADMCenterCrop, ADMRandomCrop, Window
from fvq_core.errors import UserError

from ..pictures import picture, save

RANDOM_CROP = dict(type='ADMRandomCrop', size=64, upsample=True)


def photo(name: str, short_side: int) -> Image.Image:
    image = Image.fromarray(load_photos()[name])
    scale = short_side / min(image.size)
    return image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)


def both(root: Path, **options: object) -> tuple[ImageFolder, ImageFolder]:
    """The same folder through PIL and through the fast decoder."""
    transforms = [dict(RANDOM_CROP, **options), dict(type='HorizontalFlip')]
    return tuple(ImageFolder(str(root), transforms, decoder=decoder, seed=4) for decoder in ('pil', 'auto'))


def fast_calls(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each image so far went through torchvision."""
    calls: list[bool] = []

    def watched(crop: JPEGCrop, *arguments: Any) -> Image.Image | Tensor:
        cropped = call(crop, *arguments)
        calls.append(isinstance(cropped, Tensor))
        return cropped

    call = JPEGCrop.__call__
    monkeypatch.setattr(JPEGCrop, '__call__', watched)
    return calls


@pytest.mark.parametrize(
    'options', [dict(quality=90), dict(quality=95, subsampling=0), dict(quality=75, subsampling=1, progressive=True)]
)
def test_crops_of_photos_differ_from_pil_by_at_most_two_levels(
    tmp_path: Path, options: dict, monkeypatch: pytest.MonkeyPatch
):
    for number, name in enumerate(load_photos()):
        photo(name, 50 + 8 * number).save(tmp_path / f'{name}.jpg', **options)  # 50 and 58 are enlarged
    calls = fast_calls(monkeypatch)
    slow, fast = both(tmp_path)
    worst, total = 0, 0.0
    for position in range(60):
        one, other = slow[(position % 10, position)]['image'], fast[(position % 10, position)]['image']
        assert one.shape == other.shape == (3, 64, 64)
        assert one.dtype == other.dtype == torch.uint8
        difference = (one.int() - other.int()).abs()
        worst, total = max(worst, int(difference.max())), total + difference.float().mean().item()
    assert worst <= 2  # any other window, mirror image or filter differs by far more
    assert total / 60 < 0.05
    assert all(calls)


@settings(max_examples=60)
@given(st.integers(20, 70), st.integers(20, 200), st.integers(0, 10**6))
def test_no_shape_differs_from_pil_by_more_than_two_levels(width: int, height: int, seed: int):
    stream = io.BytesIO()
    noise = np.random.default_rng(seed).integers(0, 2, (height, width, 3), dtype=np.uint8) * 255  # the sharpest edges
    Image.fromarray(noise).save(stream, 'JPEG', quality=95, subsampling=0)
    crop = ADMRandomCrop(32, upsample=True)
    with Image.open(stream) as opened:
        fast = JPEGCrop(crop)(opened, stream.getvalue(), random.Random(seed))
        slow = to_tensor(crop(opened.convert('RGB'), random.Random(seed)))
    fast = fast if isinstance(fast, Tensor) else to_tensor(fast)
    assert (fast.int() - slow.int()).abs().max() <= 2


def test_image_to_be_halved_goes_through_pil_and_others_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    photo('coffee', 128).save(tmp_path / 'a.jpg')
    calls = fast_calls(monkeypatch)
    slow, fast = both(tmp_path, min_fraction=0.8)  # short sides from 64 to 80: only 64 halves
    same = [torch.equal(slow[(0, p)]['image'], fast[(0, p)]['image']) for p in range(60)]
    assert set(calls) == {True, False}
    assert all(equal for equal, went_fast in zip(same, calls, strict=True) if not went_fast)


@pytest.mark.parametrize('kind', ['L', 'CMYK', 'png', 'png named jpg', 'tall'])
def test_what_is_not_an_rgb_jpeg_or_very_tall_goes_through_pil(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
):
    image = photo('chelsea', 90)
    if kind == 'tall':
        image.crop((0, 0, 40, 81)).save(tmp_path / 'a.jpg')
    elif kind.startswith('png'):
        image.save(tmp_path / ('a.jpg' if kind.endswith('jpg') else 'a.png'), format='PNG')
    else:
        image.convert(kind).save(tmp_path / 'a.jpg')
    calls = fast_calls(monkeypatch)
    slow, fast = both(tmp_path)
    assert torch.equal(fast[(0, 3)]['image'], slow[(0, 3)]['image'])
    assert calls == [False]


def test_a_truncated_jpeg_is_unreadable_for_both_wherever_it_was_cut(tmp_path: Path):
    stream = io.BytesIO()
    photo('chelsea', 90).save(stream, 'JPEG', progressive=True)
    data = stream.getvalue()
    readable = set()
    cuts = [*random.Random(0).sample(range(len(data)), 40), len(data) - 2, len(data) - 1]
    for number, length in enumerate(cuts):
        (tmp_path / f'{number:02d}.jpg').write_bytes(data[:length])
    slow, fast = both(tmp_path)
    for number, length in enumerate(cuts):
        one, other = slow[number], fast[number]
        assert one['unreadable'] == other['unreadable'], length
        assert (one['image'] is None) == (other['image'] is None), length
        readable.add(one['image'] is not None)
    assert False in readable


def test_file_that_only_torchvision_refuses_is_decoded_by_pil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    photo('chelsea', 90).save(tmp_path / 'a.jpg')

    def refuse(*arguments: object, **options: object) -> Tensor:
        raise RuntimeError('not this one')

    monkeypatch.setattr('fvq_core.data.jpeg.decode_jpeg', refuse)
    slow, fast = both(tmp_path)
    assert torch.equal(fast[(0, 7)]['image'], slow[(0, 7)]['image'])


@pytest.mark.parametrize('exif_orientation', ['apply', 'ignore'])
def test_both_turn_photos_by_their_tag_or_leave_them_as_stored(tmp_path: Path, exif_orientation: str):
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees to view
    stored = photo('rocket', 90)
    stored.save(tmp_path / 'a.jpg', exif=exif, quality=95)
    transforms = [dict(type='ADMCenterCrop', size=64)]
    slow, fast = (
        ImageFolder(str(tmp_path), transforms, decoder=decoder, exif_orientation=exif_orientation)[0]['image'].int()
        for decoder in ('pil', 'auto')
    )
    assert (slow - fast).abs().max() <= 2
    seen = stored.transpose(Image.Transpose.ROTATE_270) if exif_orientation == 'apply' else stored
    expected = to_tensor(ADMCenterCrop(64)(seen, random.Random(0))).int()
    assert (slow - expected).abs().float().mean() < 5  # of JPEG; the wrong way round it is 60


def test_window_is_cut_from_the_whole_image_resized():
    image = photo('china', 90)
    stream = io.BytesIO()
    image.save(stream, 'JPEG', quality=95)
    pixels = cut_pixels(decode(stream.getvalue()), Window(0, image.width, image.height, 11, 5, 40))
    with Image.open(stream) as opened:  # no resizing, hence no rounding either
        assert torch.equal(pixels, to_tensor(opened.convert('RGB').crop((11, 5, 51, 45))))


def test_small_image_is_a_user_error_for_both(tmp_path: Path):
    save(picture(30, 40), tmp_path / 'a.jpg')
    for dataset in both(tmp_path, upsample=False):
        assert 'ADMRandomCrop: the image is 30x40, smaller than the 64x64 crop' in dataset[0]['error']


def test_fast_decoder_wants_an_adm_crop_first_and_only_flips_behind(tmp_path: Path):
    save(picture(8, 8), tmp_path / 'a.jpg')
    flip = dict(type='HorizontalFlip')
    for transforms, named in (((), 'none'), ((flip,), 'HorizontalFlip'), ((flip, RANDOM_CROP), 'HorizontalFlip, ADM')):
        with pytest.raises(UserError, match=f"decoder='auto' needs an ADM crop as the first transform.*{named}"):
            ImageFolder(str(tmp_path), transforms, decoder='auto')
    with pytest.raises(UserError, match="decoder must be 'pil' or 'auto', got 'turbo'"):
        ImageFolder(str(tmp_path), decoder='turbo')
