"""Pillow's resize on any device: the same bytes, whatever the shapes, in any batch."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from fvq_core.ops.crop_window import Window, cut
from fvq_core.ops.resize import resized_crops


def random_batch(seed: int, size: int, aspect_kept: bool) -> tuple[Tensor, Tensor, float, Tensor]:
    """Images one after the other, windows, the largest scale, and the crops that Pillow makes."""
    rng, noise = random.Random(seed), np.random.default_rng(seed)
    pixels, rows, expected, start = [], [], [], 0
    for _ in range(rng.randrange(1, 9)):
        height, width = rng.randrange(3, 300), rng.randrange(3, 300)
        image = noise.integers(0, 256, (height, width, 3), dtype=np.uint8)
        if rng.random() < 0.3:
            image = (image > 127).astype(np.uint8) * 255  # the filter overshoots, so that clipping counts
        if aspect_kept:
            short = rng.randrange(max(size, min(height, width) // 2 + 1), 300)
            scale = short / min(height, width)
            resized = round(height * scale), round(width * scale)
        else:
            resized = rng.randrange(size, 400), rng.randrange(size, 400)
        if rng.random() < 0.2 and min(height, width) >= size:
            resized = height, width
        top, left, mirrored = (
            rng.randrange(resized[0] - size + 1),
            rng.randrange(resized[1] - size + 1),
            rng.random() < 0.5,
        )
        crop = np.asarray(cut(Image.fromarray(image), Window(0, resized[1], resized[0], left, top, size)))
        expected.append(torch.from_numpy((crop[:, ::-1] if mirrored else crop).transpose(2, 0, 1).copy()))
        pixels.append(torch.from_numpy(image.transpose(2, 0, 1).copy()).flatten())
        rows.append([start, height, width, *resized, top, left, int(mirrored)])
        start += image.size
    windows = torch.tensor(rows)
    scale = (windows[:, 1:3] / windows[:, 3:5]).max().item()
    return torch.cat(pixels), windows, scale, torch.stack(expected)


@pytest.mark.parametrize('aspect_kept', [True, False])
@pytest.mark.parametrize('seed', range(12))
def test_crops_are_pillows_byte_for_byte(seed: int, aspect_kept: bool) -> None:
    pixels_P, windows_B8, scale, expected = random_batch(seed, [8, 16, 64][seed % 3], aspect_kept)
    assert torch.equal(resized_crops(pixels_P, windows_B8, expected.shape[-1], scale), expected)


def test_a_crop_does_not_depend_on_the_others_of_its_batch() -> None:
    pixels_P, windows_B8, scale, expected = random_batch(3, 16, True)
    for row_8, crop in zip(windows_B8, expected, strict=True):
        own = (row_8[1:3] / row_8[3:5]).max().item()
        for bound in (own, scale):
            assert torch.equal(resized_crops(pixels_P, row_8[None], 16, bound)[0], crop)


def test_without_a_resize_pixels_are_only_moved() -> None:
    image = torch.randint(0, 256, (3, 20, 30), dtype=torch.uint8)
    windows_B8 = torch.tensor([[0, 20, 30, 20, 30, 4, 5, 0], [0, 20, 30, 20, 30, 12, 22, 1]])
    one, other = resized_crops(image.flatten(), windows_B8, 8, 0.0)
    assert torch.equal(one, image[:, 4:12, 5:13])
    assert torch.equal(other, image[:, 12:20, 22:30].flip(-1))


@pytest.mark.gpu
@pytest.mark.parametrize('seed', range(6))
def test_a_gpu_makes_the_same_bytes(seed: int) -> None:
    pixels_P, windows_B8, scale, expected = random_batch(seed, 64, True)
    assert torch.equal(resized_crops(pixels_P.cuda(), windows_B8.cuda(), 64, scale).cpu(), expected)
