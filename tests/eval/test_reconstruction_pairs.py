"""The picture of whole images: every one beside its reconstruction, pixel for pixel, and what training never saw marked."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fvq_core.images import device_images, from_uint8, to_uint8
from fvq_core.training.tasks import Reconstructed
from fvq_eval.hooks import ReportHook
from fvq_eval.plots.reconstruction_pairs import BAR, BETWEEN, GAP, fill_rows, save_reconstruction_pairs
from fvq_eval.reports.whole_photos import WholePhotos
from tests.tiny import tiny_tokenizer

ORANGE = (224, 138, 60)


def pair(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two dark images, so that neither white nor orange is in them."""
    one, other = torch.randint(0, 100, (2, 3, height, width), dtype=torch.uint8)
    return from_uint8(one), from_uint8(other)


def pixels(image: torch.Tensor) -> np.ndarray:
    return to_uint8(image).permute(1, 2, 0).numpy()


@given(st.lists(st.integers(1, 900), min_size=1, max_size=20), st.integers(1, 1000))
def test_rows_hold_every_item_once_the_widest_first_and_none_beyond_the_edge(widths: list[int], row_width: int) -> None:
    rows = fill_rows(widths, row_width, gap=5)
    order = [index for row in rows for index in row]
    assert sorted(order) == list(range(len(widths)))
    assert [widths[index] for index in order] == sorted(widths, reverse=True)
    for row, following in zip(rows, [*rows[1:], []], strict=True):
        length = sum(widths[index] for index in row) + 5 * (len(row) - 1)
        assert length <= row_width or len(row) == 1
        assert not following or length + 5 + widths[following[0]] > row_width


def test_a_pair_stands_side_by_side_with_a_bar_below_what_training_did_not_see(tmp_path: Path) -> None:
    wide, narrow = pair(8, 20), pair(8, 12)
    save_reconstruction_pairs([narrow, wide], tmp_path / 'p.png', unseen=[(5, 9), None], row_width=1000)
    canvas = np.asarray(Image.open(tmp_path / 'p.png'))
    assert canvas.shape[1] == 2 * (20 + 12) + 2 * BETWEEN + GAP
    left = 0
    for original, made in (wide, narrow):
        for image in (original, made):
            width = image.shape[2]
            np.testing.assert_array_equal(canvas[:8, left : left + width], pixels(image))
            below = canvas[8 : 8 + BAR, left : left + width]
            orange = (below == ORANGE).all(-1)
            unseen = np.isin(np.arange(width), range(5, 9)) & (width == 12)
            assert orange[:, unseen].all()
            assert (below[:, ~unseen] == 255).all()
            left += width + BETWEEN
        left += GAP - BETWEEN


def test_rows_stand_below_one_another_in_the_middle_and_the_caption_below_all(tmp_path: Path) -> None:
    pairs = [pair(8, 20), pair(16, 10)]
    for caption in ('', 'What is what'):
        save_reconstruction_pairs(pairs, tmp_path / f'{bool(caption)}.png', caption=caption, row_width=50)
    plain, captioned = (np.asarray(Image.open(tmp_path / f'{with_one}.png')) for with_one in (False, True))
    assert plain.shape[:2] == (8 + 16 + 2 * (BAR + GAP), 42)
    top = 8 + BAR + GAP
    np.testing.assert_array_equal(plain[top : top + 16, 10:20], pixels(pairs[1][0]))
    np.testing.assert_array_equal(captioned[: len(plain)], plain)
    assert captioned[len(plain) :].min() < 200


@pytest.mark.parametrize('size', [None, (21, 30)])
@torch.no_grad()
def test_the_report_shows_the_images_of_a_dataset_whole(size: tuple[int, int] | None, tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    hook = ReportHook(dataset=dict(type='WholePhotos', height=32))
    assert isinstance(hook.dataset, WholePhotos)
    if size is not None:  # what the tokenizer's factor, 2, does not divide is cut off
        odd = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
        hook.dataset = [dict(image=odd)]

    def val_step(batch: Any) -> Reconstructed:
        images = device_images(batch, torch.device('cpu'))
        return Reconstructed(images, tokenizer(images))

    task = SimpleNamespace(tokenizer=tokenizer, val_step=val_step)
    assert hook._whole_images(SimpleNamespace(), task, tmp_path / 'p.png')
    canvas = np.asarray(Image.open(tmp_path / 'p.png'))
    widest = max(
        (hook.dataset[number]['image'] for number in range(len(hook.dataset))), key=lambda image: image.shape[2]
    )
    image = from_uint8(widest)[:, : 20 if size else None]
    height, width = image.shape[1:]
    np.testing.assert_array_equal(canvas[:height, :width], pixels(image))
    left = width + BETWEEN
    made = tokenizer(image[None]).reconstruction[0]
    np.testing.assert_array_equal(canvas[:height, left : left + width], pixels(made))
