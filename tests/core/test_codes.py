"""Code layouts: their shapes, what they refuse, and their JSON form."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fvq_core.codes import (
    CodeLayout,
    Codes,
    Grid,
    LatentLayout,
    Latents,
    Positions,
    Pyramid,
    Sequence,
    layout_from_dict,
)
from fvq_core.errors import UserError

# How each layout is made (lazily, so that one that cannot be built fails only its own tests), its length, its shape.
LAYOUTS = {
    'Grid': (lambda: CodeLayout(Grid(2, 3), 7), 6, (2, 3)),
    'Grid of depths': (lambda: CodeLayout(Grid(2, 3), (5, 9, 7, 4)), 24, (2, 3, 4)),
    'Pyramid': (lambda: CodeLayout(Pyramid(((1, 1), (2, 2), (3, 4))), 8), 17, (17,)),
    'Pyramid of groups': (lambda: CodeLayout(Pyramid(((1, 1), (2, 2))), (4, 11)), 10, (5, 2)),
    'Sequence': (lambda: CodeLayout(Sequence(5), 6), 5, (5,)),
    'Sequence of depths': (lambda: CodeLayout(Sequence(5), (6, 2)), 10, (5, 2)),
}
every_layout = pytest.mark.parametrize('name', sorted(LAYOUTS))


def largest_codes(layout: CodeLayout, batch: int = 2) -> torch.Tensor:
    """The largest code that each slot may hold, (batch, L)."""
    kinds = torch.tensor(layout.vocabularies) - 1
    return kinds.repeat(layout.length // len(kinds)).expand(batch, -1).contiguous()


def test_every_kind_of_positions_has_a_case_here():
    assert {cls.__name__ for cls in Positions.__subclasses__()} == {name.split()[0] for name in LAYOUTS}


@every_layout
def test_length_and_shape_are_what_the_arrangement_says(name: str):
    make, length, shape = LAYOUTS[name]
    assert (make().length, make().shape) == (length, shape)


@every_layout
def test_flatten_undoes_unflatten_in_reading_order(name: str):
    make, length, shape = LAYOUTS[name]
    indices_BL = torch.arange(3 * length).view(3, length)
    human = Codes(indices_BL, make()).unflatten()
    assert human.shape == (3, *shape)
    assert human[1].flatten().tolist() == list(range(length, 2 * length))
    assert torch.equal(make().flatten(human), indices_BL)


@every_layout
def test_largest_code_of_every_slot_is_taken(name: str):
    make, _, _ = LAYOUTS[name]
    make().check(largest_codes(make()))


@every_layout
def test_code_one_past_any_slots_vocabulary_is_refused(name: str):
    layout = LAYOUTS[name][0]()
    for slot in range(layout.length):
        codes = largest_codes(layout)
        codes[1, slot] += 1
        with pytest.raises(UserError, match=rf'{name.split()[0]}: codes must lie in \[0, '):
            layout.check(codes)


@every_layout
def test_negative_code_wrong_length_and_float_codes_are_refused(name: str):
    layout = LAYOUTS[name][0]()
    codes = largest_codes(layout)
    for wrong, message in (
        (codes - codes - 1, 'must lie in'),
        (codes[:, :-1], 'expected codes of shape'),
        (codes[0], 'expected codes of shape'),
        (codes.float(), 'integers'),
    ):
        with pytest.raises(UserError, match=message):
            layout.check(wrong)


@every_layout
def test_codes_of_parts_of_images_have_no_shape(name: str):
    layout = LAYOUTS[name][0]()
    with pytest.raises(UserError, match=f'expected {layout.length} codes an image'):
        layout.unflatten(largest_codes(layout)[:1, :-1])
    with pytest.raises(UserError, match=f'expected {layout.length} codes an image'):
        layout.flatten(largest_codes(layout)[:1, :-1])


@every_layout
def test_layout_survives_json(name: str):
    layout = LAYOUTS[name][0]()
    again = layout_from_dict(json.loads(json.dumps(layout.to_dict())))
    assert again == layout
    assert hash(again) == hash(layout)


@every_layout
def test_vocab_size_is_the_largest_vocabulary(name: str):
    layout = LAYOUTS[name][0]()
    assert layout.vocab_size == 1 + int(largest_codes(layout).max())


def test_unknown_layout_and_unknown_field_are_refused_by_name():
    with pytest.raises(UserError, match=r'Hexagons.*Grid'):
        layout_from_dict({'type': 'Hexagons'})
    with pytest.raises(UserError, match=r"Grid: unknown field.*'depth'"):
        layout_from_dict({**CodeLayout(Grid(2, 2), 4).to_dict(), 'depth': 3})


@pytest.mark.parametrize('text', ['Grid', None, 7])
def test_a_layout_that_is_not_a_mapping_is_named_in_the_message(text: Any):
    with pytest.raises(UserError, match=f'unknown code layout {text!r}; known: Grid'):
        layout_from_dict(text)


def test_batches_of_codes_and_latents_are_compared_by_value():
    layout, latents = CodeLayout(Grid(1, 2), 7), LatentLayout(Grid(1, 2), 1)
    for one, same, other in (
        (Codes(torch.tensor([[1, 2]]), layout), torch.tensor([[1, 2]]), torch.tensor([[1, 3]])),
        (Latents(torch.zeros(1, 1, 1, 2), latents), torch.zeros(1, 1, 1, 2), torch.ones(1, 1, 1, 2)),
    ):
        assert one == type(one)(same, one.layout)
        assert one != type(one)(other, one.layout)
        assert one != same
    assert Codes(torch.tensor([[1, 2]]), layout) != Codes(torch.tensor([[1, 2]]), CodeLayout(Grid(1, 2), 8))


@pytest.mark.parametrize('shape', [(), (6,), (1, 2, 3)])
def test_indices_of_other_than_two_dimensions_are_refused(shape: tuple[int, ...]):
    with pytest.raises(UserError, match=r'Codes: expected codes of shape \(B, 6\), got .*use layout.flatten'):
        Codes(torch.zeros(shape, dtype=torch.int64), CodeLayout(Grid(2, 3), 7))


@pytest.mark.parametrize('size', [0, -1, True, 2.0, '2', None, [], (3,)])
def test_sizes_below_one_and_of_another_type_are_refused_however_a_layout_is_built(size: Any):
    for build in (
        lambda: Grid(size, 2),
        lambda: Grid(2, size),
        lambda: Sequence(size),
        lambda: Pyramid(((1, size),)),
        lambda: CodeLayout(Grid(2, 2), (4, size)),
        lambda: layout_from_dict(dict(type='Grid', height=2, width=size, codebook_size=4)),
        lambda: layout_from_dict(dict(type='Grid', height=2, width=2, codebook_size=[4, size])),
    ):
        with pytest.raises(UserError, match='sizes are whole numbers from 1 on'):
            build()
    if size != (3,):
        with pytest.raises(UserError, match='CodeLayout: sizes are whole numbers from 1 on'):
            CodeLayout(Grid(2, 2), size)


@pytest.mark.parametrize('scales', [(), 3, ((1, 2, 3),), (4,), None])
def test_scales_that_are_not_pairs_are_refused(scales: Any):
    with pytest.raises(UserError, match=r'Pyramid: scales are pairs \(height, width\), one or more'):
        Pyramid(scales)


def test_layout_needs_positions():
    with pytest.raises(UserError, match=r'CodeLayout: expected positions such as Grid\(16, 16\), got 16'):
        CodeLayout(16, 4)  # pyrefly: ignore[bad-argument-type]


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 4), st.integers(1, 4), st.lists(st.integers(1, 9), min_size=1, max_size=4))
def test_depths_of_a_position_are_neighbours_in_the_sequence(height: int, width: int, sizes: list[int]):
    layout = CodeLayout(Grid(height, width), tuple(sizes))
    human = layout.unflatten(torch.arange(layout.length)[None]).view(height, width, len(sizes))
    for row in range(height):
        for column in range(width):
            start = (row * width + column) * len(sizes)
            assert human[row, column].tolist() == list(range(start, start + len(sizes)))


@every_layout
@pytest.mark.parametrize('dtype', [torch.uint8, torch.int8, torch.uint16, torch.int16, torch.uint32, torch.int32])
def test_codes_of_narrow_types_are_checked_in_a_wide_one(name: str, dtype: torch.dtype):
    make, length, _ = LAYOUTS[name]
    make().check(largest_codes(make()).to(dtype))
    most = min(torch.iinfo(dtype).max, 2**31 - 1)
    with pytest.raises(UserError, match=rf'must lie in \[0, \d+\), got \[.*{most}\]'):
        make().check(torch.full((1, length), most, dtype=dtype))
    if torch.iinfo(dtype).min < 0:
        with pytest.raises(UserError, match=r'must lie in .*got \[-1,'):
            make().check(torch.full((1, length), -1, dtype=dtype))


@pytest.mark.parametrize('size', [200, 256, 1024, 40_000, 65_536, 70_000])
def test_vocabularies_beyond_a_narrow_type_take_its_codes(size: int):
    for dtype in (torch.uint8, torch.int8, torch.uint16, torch.int16, torch.int32):
        most = min(size - 1, torch.iinfo(dtype).max)
        CodeLayout(Grid(1, 2), size).check(torch.tensor([[0, most]]).to(dtype))


@every_layout
def test_codes_that_are_not_a_tensor_are_refused(name: str):
    make, length, _ = LAYOUTS[name]
    for wrong in ([[0] * length], torch.zeros(1, length, dtype=torch.int64).numpy(), None):
        with pytest.raises(UserError, match='integer tensor'):
            make().check(wrong)
