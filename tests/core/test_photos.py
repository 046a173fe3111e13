"""Bundled photographs: disjoint splits, crops that depend only on seed and position."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch
from torch import Tensor

from fvq_core.data.loader import build_loader
from fvq_core.data.photos import (
    PHOTO_NAMES,
    BundledPhotos,
    held_out_columns,
    load_photos,
    photo_parts,
    shrunk,
)
from fvq_core.errors import UserError
from fvq_eval.reports.whole_photos import WholePhotos


def contains(part: np.ndarray, crop: Tensor) -> bool:
    """Whether a crop (3, S, S) occurs somewhere in a photo's part (H, W, 3)."""
    pixels = crop.permute(1, 2, 0).numpy()
    side = pixels.shape[0]
    corners = part[: part.shape[0] - side + 1, : part.shape[1] - side + 1]
    candidates = np.argwhere((corners == pixels[0, 0]).all(-1))
    return any(np.array_equal(part[top : top + side, left : left + side], pixels) for top, left in candidates)


def images(dataset: BundledPhotos, count: int) -> Tensor:
    return torch.stack([dataset[i]['image'] for i in range(count)])


def test_train_and_eval_parts_share_no_pixel_and_leave_none_out():
    for name, photo in load_photos().items():
        flags = np.zeros(photo.shape, dtype=np.uint8)
        photo_parts(flags, 'train')[0][...] += 1
        photo_parts(flags, 'eval')[0][...] += 2
        assert set(np.unique(flags)) == {1, 2}, name
        assert (flags[..., 0] == 1).mean() == pytest.approx(0.75, abs=0.01)


def test_crops_come_from_their_own_split_of_the_photo_that_the_label_names():
    evaluation, training = BundledPhotos('eval', 16, crops=30), BundledPhotos('train', 16, crops=30)
    for i in range(30):
        sample = evaluation[i]
        assert contains(photo_parts(load_photos()[PHOTO_NAMES[sample['label']]], 'eval')[0], sample['image'])
        sample = training[(i, i)]
        part = photo_parts(load_photos()[PHOTO_NAMES[sample['label']]], 'train')[0]
        assert contains(part, sample['image']) or contains(part, sample['image'].flip(2))


def test_labels_go_round_the_photos():
    dataset = BundledPhotos('eval', 8, crops=25)
    assert len(dataset) == 25
    assert [dataset[i]['label'] for i in range(25)] == [*range(10), *range(10), *range(5)]


def test_evaluation_crops_are_the_same_for_every_seed_and_training_crops_are_not():
    assert torch.equal(images(BundledPhotos('eval', 32, seed=1), 12), images(BundledPhotos('eval', 32, seed=2), 12))
    one, same, other = (images(BundledPhotos('train', 32, seed=seed), 12) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_training_crop_changes_from_epoch_to_epoch_and_half_are_mirrored():
    dataset = BundledPhotos('train', 8, crops=10)
    assert not torch.equal(dataset[(3, 3)]['image'], dataset[(3, 13)]['image'])
    coffee = photo_parts(load_photos()['coffee'], 'train')[0]
    upright = sum(contains(coffee, dataset[(2, position)]['image']) for position in range(60))
    assert 15 < upright < 45


def test_crops_are_the_same_for_any_number_of_loader_workers():
    def batches(workers: int) -> list[Tensor]:
        cfg = dict(
            dataset=dict(type='BundledPhotos', split='train', crop_size=16, crops=14), batch_size=4, num_workers=workers
        )
        return [batch['images'] for batch in islice(build_loader(cfg, seed=5, train=True), 5)]

    alone, shared = batches(0), batches(2)
    assert [tuple(batch.shape) for batch in alone] == [(4, 3, 16, 16)] * 5
    assert all(torch.equal(a, b) for a, b in zip(alone, shared, strict=True))


def test_evaluation_loader_sees_every_crop_once_in_order():
    cfg = dict(dataset=dict(type='BundledPhotos', split='eval', crop_size=8, crops=13), batch_size=5)
    labels = torch.cat([batch['labels'] for batch in build_loader(cfg, seed=0, train=False)])
    assert labels.tolist() == [i % 10 for i in range(13)]


def test_crop_larger_than_a_part_is_refused_with_its_size():
    with pytest.raises(
        UserError, match=r'BundledPhotos: the eval part of \w+ is \d+x\d+, smaller than the 2000x2000 crop'
    ):
        BundledPhotos('eval', crop_size=2000)


def test_unknown_split_and_empty_crops_are_refused():
    with pytest.raises(UserError, match="split must be 'train' or 'eval', got 'test'"):
        BundledPhotos('test')
    with pytest.raises(UserError, match='1 or more, got 0 and 8'):
        BundledPhotos('eval', crop_size=8, crops=0)


def test_shrunk_photos_keep_their_aspect_and_mean_and_smaller_ones_stay():
    photo = load_photos()['coffee']
    small = shrunk(photo, 0.2)
    assert small.shape == (80, 120, 3)
    np.testing.assert_allclose(small.mean((0, 1)), photo.mean((0, 1)), atol=0.5)
    assert shrunk(small, 1.5) is small
    whole = BundledPhotos('train', 64, short_side=64)
    part = np.asarray(whole.parts['coffee'][0])
    assert min(part.shape[:2]) == 64
    assert contains(part, whole[(2, 2)]['image']) or contains(part, whole[(2, 2)]['image'].flip(2))


def test_whole_photos_show_every_photo_from_edge_to_edge():
    dataset = WholePhotos(height=96)
    assert len(dataset) == len(PHOTO_NAMES)
    for number, name in enumerate(PHOTO_NAMES):
        image, photo = dataset[number]['image'], load_photos()[name]
        height, width = image.shape[1:]
        assert (height, width % 16) == (96, 0)
        assert width / height == pytest.approx(photo.shape[1] / photo.shape[0], abs=8 / height)
        # Quadrants of the small photo have the mean colours of those of the large one.
        for side in (0, 1):
            for low in (0, 1):
                quarters = [
                    pixels[low * pixels.shape[0] // 2 :, side * pixels.shape[1] // 2 :].mean((0, 1))
                    for pixels in (image.permute(1, 2, 0).double().numpy(), photo)
                ]
                np.testing.assert_allclose(*quarters, atol=2.0)


@pytest.mark.parametrize('held_out', range(4))
def test_any_quarter_can_be_held_out_and_training_crops_lie_on_either_side_of_it(held_out: int):
    photo = load_photos()['coffee']
    flags = np.zeros(photo.shape[:2], dtype=np.uint8)
    for split, mark in (('train', 1), ('eval', 2)):
        for part in photo_parts(flags, split, held_out):
            part += mark
    first, end = held_out_columns(photo.shape[1], held_out)
    assert (flags[:, first:end] == 2).all()
    assert (flags == 2).sum() == flags.shape[0] * (end - first)
    assert (flags == 1).sum() == flags.size - (flags == 2).sum()
    dataset = BundledPhotos('train', 8, crops=10, held_out=held_out)
    sides = [
        [contains(part, image) or contains(part, image.flip(2)) for part in photo_parts(photo, 'train', held_out)]
        for image in (dataset[(2, position)]['image'] for position in range(40))
    ]
    assert all(any(side) for side in sides)
    assert np.array(sides).any(0).all()


def test_what_training_did_not_see_of_a_whole_photo_is_the_evaluation_s_part():
    for held_out in range(4):
        dataset = WholePhotos(height=192, held_out=held_out)
        for number, name in enumerate(PHOTO_NAMES):
            photo, image = load_photos()[name], dataset[number]['image']
            expected = np.array(held_out_columns(photo.shape[1], held_out)) / photo.shape[1]
            np.testing.assert_allclose(np.array(dataset.unseen(image)) / image.shape[2], expected, atol=0.01)


def test_quarters_that_there_are_not_are_refused():
    with pytest.raises(UserError, match='held_out must be a quarter, 0 to 3 from left to right, got 4'):
        BundledPhotos('eval', held_out=4)


def test_whole_photos_of_a_height_that_codes_do_not_divide_are_refused():
    with pytest.raises(UserError, match='height must be a multiple of 16, got 100'):
        WholePhotos(height=100)
