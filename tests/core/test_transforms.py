"""Crops and flips: where they cut, what they draw, what they refuse."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fvq_core.data.sample import to_tensor
from fvq_core.data.transforms import (
    ADMCenterCrop,
    ADMRandomCrop,
    CropTooLargeError,
    HorizontalFlip,
    Window,
    cut,
    shrunk_size,
)
from fvq_core.errors import UserError

from ..pictures import gradient, picture, same_pixels


def shrink(image: Image.Image, side: int) -> Image.Image:
    """The whole image, its short side brought to `side`."""
    halvings, width, height = shrunk_size(image.width, image.height, side)
    whole = cut(image, Window(halvings, width, height, 0, 0, max(width, height)))
    return whole.crop((0, 0, width, height))


def corner(crop: Image.Image) -> tuple[int, int]:
    """(left, top) of a crop of `gradient`."""
    red, green, _ = crop.getpixel((0, 0))
    return red, green


@settings(deadline=None, max_examples=25)
@given(st.integers(8, 90), st.integers(8, 90), st.integers(1, 40))
def test_shrink_brings_the_short_side_to_size_and_keeps_the_aspect(width: int, height: int, side: int):
    small = shrink(Image.new('RGB', (width, height)), side)
    assert min(small.size) == side
    halved = 1
    while min(width, height) >= 2 * side * halved:
        halved *= 2
    short, long = min(width, height) // halved, max(width, height) // halved
    assert max(small.size) == pytest.approx(long * side / short, abs=0.5 + 1e-9)


def test_shrink_by_a_power_of_two_is_the_mean_of_blocks():
    image = picture(32, 16)
    means = np.asarray(image, dtype=float).reshape(8, 2, 16, 2, 3).mean((1, 3))
    assert np.abs(np.asarray(shrink(image, 8), dtype=float) - means).max() <= 1.0  # two passes, each rounds


def test_centre_crop_of_an_image_with_the_right_short_side_is_its_middle():
    crop = ADMCenterCrop(20)(gradient(61, 20), random.Random(0))
    assert crop.size == (20, 20)
    assert corner(crop) == (20, 0)
    assert same_pixels(crop, gradient(61, 20).crop((20, 0, 40, 20)))


def test_random_crop_at_full_fraction_reaches_every_offset_alike():
    crop = ADMRandomCrop(20, min_fraction=1.0)
    rng = random.Random(0)
    lefts = Counter(corner(crop(gradient(23, 20), rng)) for _ in range(400))
    assert set(lefts) == {(left, 0) for left in range(4)}
    assert min(lefts.values()) > 60


def test_random_crop_draws_short_sides_from_the_fractions():
    crop, rng = ADMRandomCrop(16, min_fraction=0.8, max_fraction=1.0), random.Random(0)
    windows = [crop.window(50, 40, rng) for _ in range(100)]
    assert {window.height for window in windows} == {16, 17, 18, 19, 20}
    assert all(window.halvings == 1 for window in windows)  # 40 is at least twice as long as any of them
    assert all(window.width == round(25 * window.height / 20) for window in windows)
    assert all(0 <= window.left <= window.width - 16 and 0 <= window.top <= window.height - 16 for window in windows)
    assert crop(gradient(50, 40), rng).size == (16, 16)


def test_random_crop_depends_only_on_its_random_source():
    crop, image = ADMRandomCrop(16), picture(50, 40)
    crop(image, random.Random(9))
    again = [crop(image, random.Random(seed)) for seed in (1, 1, 2)]
    assert same_pixels(again[0], again[1])
    assert not same_pixels(again[0], again[2])


@pytest.mark.parametrize('kind', [ADMCenterCrop, ADMRandomCrop])
def test_image_smaller_than_the_crop_is_refused_unless_it_may_be_enlarged(kind: type):
    with pytest.raises(CropTooLargeError, match=f'{kind.__name__}: the image is 30x10, smaller than the 16x16 crop'):
        kind(16)(picture(30, 10), random.Random(0))
    assert kind(16, upsample=True)(picture(30, 10), random.Random(0)).size == (16, 16)


def test_flip_mirrors_with_its_probability():
    image = gradient(8, 4)
    mirrored = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    rng, flip = random.Random(0), HorizontalFlip(0.25)
    flips = sum(same_pixels(flip(image, rng), mirrored) for _ in range(400))
    assert 70 < flips < 130
    assert same_pixels(HorizontalFlip(1.0)(image, rng), mirrored)
    assert same_pixels(HorizontalFlip(0.0)(image, rng), image)
    pixels = to_tensor(image)
    assert torch.equal(HorizontalFlip(1.0)(pixels, rng), to_tensor(mirrored))


def test_impossible_sizes_and_fractions_are_refused():
    with pytest.raises(UserError, match='ADMCenterCrop: size must be 1 or more, got 0'):
        ADMCenterCrop(0)
    for low, high in ((0.0, 1.0), (0.9, 0.8), (0.5, 1.1)):
        with pytest.raises(UserError, match='need 0 < min_fraction <= max_fraction <= 1'):
            ADMRandomCrop(16, min_fraction=low, max_fraction=high)
    with pytest.raises(UserError, match=r'HorizontalFlip: p must lie between 0 and 1, got 1.5'):
        HorizontalFlip(1.5)
