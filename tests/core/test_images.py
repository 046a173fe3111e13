"""Pixels change type in one place, without loss and without surprises."""

from __future__ import annotations

import pytest
import torch

from fvq_core.errors import NonFiniteError, UserError
from fvq_core.images import device_images, from_uint8, to_uint8


def test_every_level_survives_the_round_trip():
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(from_uint8(levels)), levels)


def test_black_and_white_are_exactly_minus_one_and_one():
    assert from_uint8(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1.0, 1.0]
    assert from_uint8(torch.tensor([51], dtype=torch.uint8)).item() == pytest.approx(-0.6, abs=1e-7)


def test_values_outside_the_range_are_clamped_not_wrapped():
    assert to_uint8(torch.tensor([-3.0, -1.001, 1.001, 1.02, 50.0])).tolist() == [0, 0, 255, 255, 255]


def test_values_go_to_the_nearest_level():
    values = torch.tensor([100.4, 100.6]) / 127.5 - 1
    assert to_uint8(values).tolist() == [100, 101]


def test_half_precision_is_rounded_in_float32():
    values = torch.linspace(-1, 1, 999).bfloat16()
    assert torch.equal(to_uint8(values), to_uint8(values.float()))


def test_neither_conversion_changes_its_argument():
    pixels, images = torch.tensor([3, 200], dtype=torch.uint8), torch.tensor([-2.0, 0.3])
    from_uint8(pixels), to_uint8(images)
    assert pixels.tolist() == [3, 200]
    assert torch.equal(images, torch.tensor([-2.0, 0.3]))


def test_float_pixels_are_refused():
    with pytest.raises(UserError, match=r'expected uint8 pixels, got torch.float32'):
        from_uint8(torch.zeros(2))


def test_device_mirrors_the_images_whose_coin_is_heads_and_no_others():
    images = torch.randint(0, 256, (3, 3, 4, 5), dtype=torch.uint8)
    kept = images.clone()
    got = device_images({'images': images, 'flip': torch.tensor([True, False, True])}, 'cpu')
    mirrored = torch.tensor(
        [
            [[[float(images[b, c, y, 4 - x if b != 1 else x]) for x in range(5)] for y in range(4)] for c in range(3)]
            for b in range(3)
        ]
    )
    assert got.dtype == torch.float32
    assert torch.equal(got, mirrored / 127.5 - 1)
    assert torch.equal(images, kept)


def test_batch_without_coins_is_only_converted():
    images = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8)
    for batch in ({'images': images}, {'images': images, 'flip': torch.tensor([False, False])}):
        assert torch.equal(device_images(batch, torch.device('cpu')), from_uint8(images))


def test_what_is_not_a_tensor_and_what_is_uint8_already_are_refused():
    for wrong in (torch.zeros(2, dtype=torch.uint8).numpy(), [1, 2]):
        with pytest.raises(UserError, match=r'expected a uint8 tensor, got (ndarray|list)'):
            from_uint8(wrong)
    for wrong in (torch.zeros(2, dtype=torch.uint8), torch.zeros(2).numpy()):
        with pytest.raises(UserError, match=r'to_uint8: expected floats in \[-1, 1\], got (torch.uint8|ndarray)'):
            to_uint8(wrong)


def test_nan_has_no_level_and_infinity_is_clamped():
    with pytest.raises(NonFiniteError, match='hold NaN'):
        to_uint8(torch.tensor([0.0, float('nan')]))
    assert to_uint8(torch.tensor([-float('inf'), float('inf')])).tolist() == [0, 255]
