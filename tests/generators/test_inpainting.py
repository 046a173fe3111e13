"""Which codes are kept of a part of an image."""

from __future__ import annotations

import pytest
import torch

from fvq_core.codes import CodeLayout, Grid, Pyramid, Sequence
from fvq_core.errors import UserError
from fvq_generators.inpainting import PARTS, first_scales, kept_codes, part_of_image


def test_parts_of_an_image_are_where_their_names_say():
    parts = {name: part_of_image(name, 4, 8) for name in PARTS}
    for one, other in (('top', 'bottom'), ('left', 'right'), ('center', 'border')):
        assert torch.equal(parts[one], ~parts[other])
    assert parts['top'].nonzero()[:, 0].max() == 1
    assert parts['left'].nonzero()[:, 1].max() == 3
    assert parts['center'].nonzero().tolist() == [[y, x] for y in (1, 2) for x in (2, 3, 4, 5)]


def test_a_code_is_kept_if_all_its_pixels_are():
    keep_HW = torch.ones(8, 8, dtype=torch.bool)
    keep_HW[2, 5] = False
    kept = kept_codes(keep_HW, CodeLayout(Grid(4, 4), 10))
    assert kept.nonzero()[:, 0].tolist() == [number for number in range(16) if number != 6]
    slots = kept_codes(keep_HW, CodeLayout(Grid(4, 4), (10, 10, 10)))
    assert torch.equal(slots, kept.repeat_interleave(3)), 'all slots of a position'


def test_a_coarse_code_is_kept_if_most_of_its_area_is():
    layout = CodeLayout(Pyramid(((1, 1), (2, 2), (4, 4))), 10)
    keep_HW = part_of_image('left', 8, 8)
    keep_HW[:, 4:6] = True  # three quarters of the image
    kept = kept_codes(keep_HW, layout)
    one, two, four = kept.split([1, 4, 16])
    assert one.tolist() == [True]
    assert two.view(2, 2).tolist() == [[True, False]] * 2, 'half of the area is not more than half'
    assert four.view(4, 4).tolist() == [[True, True, True, False]] * 4


def test_codes_without_a_place_on_the_image_are_refused():
    with pytest.raises(UserError, match='have no place on the image'):
        kept_codes(torch.ones(4, 4, dtype=torch.bool), CodeLayout(Sequence(4), 10))


def test_the_first_scales_of_a_pyramid_are_its_first_codes():
    layout = CodeLayout(Pyramid(((1, 1), (2, 2), (4, 4))), 10)
    assert first_scales(2, layout).tolist() == [True] * 5 + [False] * 16
    assert first_scales(3, layout).all()
    for count in (0, 4):
        with pytest.raises(UserError, match='takes 1 to 3 scales'):
            first_scales(count, layout)
    with pytest.raises(UserError, match='have no scales'):
        first_scales(1, CodeLayout(Grid(4, 4), 10))
