"""What the demo page computes of a photo, for tokenizers of every layout, without a page."""

from __future__ import annotations

import base64
import io
import math

import numpy as np
import pytest
import torch
from PIL import Image

from fvq.demo.about import about_tokenizer
from fvq.demo.code_vectors import codebook_of, name_of_row
from fvq.demo.codebook import cloud, looks, nearest, survey, usage_svg
from fvq.demo.colours import colours_of_numbers, colours_of_vectors, principal_axes
from fvq.demo.comparison import compare
from fvq.demo.edits import ERASE, EVERYWHERE, HERE, REPLACE, SWAP, blank_code, edit, uses
from fvq.demo.examination import decode, difference, examine
from fvq.demo.fitting import fit
from fvq.demo.planes import Plane, planes, widest_columns
from fvq.demo.view import MOST_EDITS, View, open_view
from fvq_core.codes import CodeLayout, Grid, Pyramid, Sequence
from fvq_core.errors import UserError
from fvq_core.images import from_uint8, to_uint8
from tests.pictures import gradient, picture

from .demo_models import CONFIGS, tiny_model

PHOTO = np.asarray(picture(52, 36))
PLANE = Plane('', 2, 3, np.arange(6), vocabulary=10)


def pixels_of(src: str) -> np.ndarray:
    kind, _, data = src.partition(',')
    assert kind == 'data:image/png;base64'
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


@pytest.mark.parametrize('name', CONFIGS)
def test_every_layout_is_shown_or_says_why_not(name: str):
    model = tiny_model(name)
    view = open_view(name, model, PHOTO, 48)
    height, width = view.examined.pixels.shape[:2]
    first, second, third, *maps = view.board(len(view.planes) - 1)['panels']
    images = from_uint8(torch.from_numpy(view.examined.pixels.copy()).permute(2, 0, 1)[None])
    with torch.no_grad():
        expected = to_uint8(model(images).reconstruction)[0].permute(1, 2, 0).numpy()
    assert np.array_equal(pixels_of(first['src']), view.examined.pixels)
    assert np.array_equal(pixels_of(second['src']), expected)
    assert (first['width'], third['height']) == (width, height)
    if name.startswith('continuous'):
        assert (maps, view.planes) == ([], [])
        with pytest.raises(UserError, match='has latents, not codes, so there is no map'):
            view.plane(0)
        with pytest.raises(UserError, match='needs the codes of a tokenizer'):
            survey(model, [PHOTO], 48)
        return
    assert sorted(np.concatenate([plane.places for plane in view.planes])) == list(range(view.layout.length))
    for number, plane in enumerate(view.planes):
        shown = view.board(number)
        assert shown['plane']['codes'] == view.original[plane.places].tolist()
        assert pixels_of(shown['panels'][3]['src']).shape == (plane.rows, plane.columns, 3)
        assert view.describe(number, len(plane) - 1).startswith('**Code ')
        changed = view.edited(number, 0, REPLACE, HERE, (int(view.current[plane.places[0]]) + 1) % plane.vocabulary)
        assert (changed.current != view.current).sum() == 1
        picture = pixels_of(changed.edited_board(model, number)['panels'][0]['src'])
        assert np.array_equal(picture, decode(model, changed.current, view.layout))
    assert np.array_equal(decode(model, view.original, view.layout), view.examined.reconstruction)
    assert about_tokenizer(model).endswith('parameters')


def test_planes_are_the_slots_and_scales_of_a_layout():
    grid = planes(CodeLayout(Grid(2, 3), (10, 20)))
    assert [(plane.name, plane.places.tolist(), plane.vocabulary) for plane in grid] == [
        ('code 1 of 2', [0, 2, 4, 6, 8, 10], 10),
        ('code 2 of 2', [1, 3, 5, 7, 9, 11], 20),
    ]
    pyramid = planes(CodeLayout(Pyramid(((1, 1), (2, 3))), 10))
    assert [(plane.name, plane.rows, plane.columns, plane.places.tolist()) for plane in pyramid] == [
        ('scale 1x1', 1, 1, [0]),
        ('scale 2x3', 2, 3, [1, 2, 3, 4, 5, 6]),
    ]
    (sequence,) = planes(CodeLayout(Sequence(32), 10))
    assert (sequence.rows, sequence.columns, sequence.on_image) == (4, 8, False)
    assert sequence.where(9) == 'token 10'
    assert grid[0].where(4) == 'row 2, column 2'


@pytest.mark.parametrize('length', [1, 2, 3, 7, 32, 37, 64, 128, 255, 256])
def test_a_sequence_is_shown_wider_than_high_and_whole(length: int):
    columns = widest_columns(length)
    (plane,) = planes(CodeLayout(Sequence(length), 10))
    assert len(plane) == length
    assert (plane.rows - 1) * columns < length <= plane.rows * columns
    assert plane.rows <= columns <= max(2, 4 * math.isqrt(2 * length))


def test_uses_of_a_code_and_changes_of_it():
    codes = np.array([3, 5, 3, 1, 5, 3])
    assert uses(codes, PLANE, 2).tolist() == [0, 2, 5]
    assert edit(codes, PLANE, 2, REPLACE, HERE, 9).tolist() == [3, 5, 9, 1, 5, 3]
    assert edit(codes, PLANE, 2, REPLACE, EVERYWHERE, 9).tolist() == [9, 5, 9, 1, 5, 9]
    assert edit(codes, PLANE, 2, SWAP, HERE, 5).tolist() == [5, 3, 5, 1, 3, 5]
    assert edit(codes, PLANE, 1, ERASE, EVERYWHERE, blank=0).tolist() == [3, 0, 3, 1, 0, 3]
    assert codes.tolist() == [3, 5, 3, 1, 5, 3], 'the given ones stay'
    second = Plane('code 2 of 2', 1, 3, np.array([1, 3, 5]), vocabulary=10)
    assert edit(codes, second, 0, SWAP, EVERYWHERE, 1).tolist() == [3, 1, 3, 5, 5, 3], 'only codes of the plane'


@pytest.mark.parametrize(
    ('cell', 'code', 'message'),
    [
        (6, 1, '6 positions'),
        (-1, 1, '6 positions'),
        (True, 1, '6 positions'),
        (0, 10, '0 to 9'),
        (0, 1.5, '0 to 9'),
        (0, None, '0 to 9'),
    ],
)
def test_cells_and_codes_that_there_are_not_are_refused(cell: int, code: float | None, message: str):
    with pytest.raises(UserError, match=message):
        edit(np.zeros(6, np.int64), PLANE, cell, REPLACE, HERE, code)


def test_an_erased_code_becomes_the_one_nearest_to_the_mean():
    codes = np.array([3, 5, 3, 1, 5, 3])
    vectors = np.array([[0.0], [1.0], [0.0], [8.0], [1.0], [0.0]])
    assert blank_code(codes, PLANE, vectors) == 5
    assert blank_code(codes, PLANE, None) == 3, 'the most frequent, without vectors'


def test_changes_are_undone_one_by_one_and_the_first_view_stays():
    model = tiny_model('grid')
    view = open_view('grid', model, PHOTO, 48)
    code = int(view.current[0])
    first = view.edited(0, 0, REPLACE, HERE, (code + 1) % 16)
    second = (
        first.edited(0, 1, ERASE, HERE, None)
        if int(first.current[1]) != blank_code(view.original, view.planes[0], view.vectors_LD)
        else first.edited(0, 2, REPLACE, HERE, (int(view.current[2]) + 1) % 16)
    )
    assert np.array_equal(second.undone().current, first.current)
    assert np.array_equal(second.undone().undone().current, view.original)
    assert view.edits == ()
    with pytest.raises(UserError, match='would change nothing'):
        view.edited(0, 0, REPLACE, HERE, code)
    many: View = view
    for number in range(MOST_EDITS + 5):
        many = many.edited(0, 0, REPLACE, HERE, (code + 1 + number) % 2 + 2 * (code < 2))
    assert len(many.edits) == MOST_EDITS


def test_scores_are_those_of_the_pictures_shown():
    examined = examine(tiny_model('grid'), fit(PHOTO, [tiny_model('grid')], 48))
    error = (examined.pixels.astype(float) - examined.reconstruction) ** 2
    assert math.isclose(examined.psnr, 10 * math.log10(255**2 / error.mean()), rel_tol=1e-6)
    assert examined.bits_per_pixel == pytest.approx(4 / 4)  # 16 codes, one for each 2x2 pixels
    assert f'PSNR {examined.psnr:.1f} dB' in examined.scores()
    assert difference(np.uint8([[[10, 0, 255]]]), np.uint8([[[12, 100, 0]]])).tolist() == [[[8, 255, 255]]]


def test_photos_are_cut_to_what_tokenizers_take():
    photo = np.asarray(gradient(52, 36))
    grid, joined, sequence = (tiny_model(name) for name in ('grid', 'joined', 'sequence'))
    assert np.array_equal(fit(photo, [grid], 64), photo), 'a photo that fits stays as it is'
    assert fit(photo[:35, :51], [grid], 64).shape == (34, 50, 3)
    assert np.array_equal(fit(photo[:34], [joined], 64), photo[1:33]), 'positions that are joined need more'
    assert fit(photo, [grid], 26).shape == (18, 26, 3)
    assert fit(photo, [sequence], 1024).shape == (16, 24, 3), 'its one size'
    assert fit(photo, [grid, sequence], 1024).shape == (16, 24, 3)
    with pytest.raises(UserError, match='smaller than the 2 pixels of one code'):
        fit(photo[:1, :1], [grid], 64)


def test_similar_codes_have_similar_colours():
    line = np.linspace(-1, 1, 50)[:, None] * np.array([[1.0, 2.0, 0.5]])
    colours = colours_of_vectors(line, principal_axes(line)).astype(int)
    steps = np.abs(np.diff(colours, axis=0)).max(1)
    assert steps.max() <= 16
    assert np.abs(colours[0] - colours[-1]).max() > 60
    flipped = principal_axes(line[::-1])
    assert np.allclose(flipped.axes_D3[:, 0], principal_axes(line).axes_D3[:, 0]), 'axes do not turn around'
    assert colours_of_vectors(np.ones((3, 1)), principal_axes(np.ones((3, 1)))).shape == (3, 3), (
        'codes that are all alike'
    )
    same = colours_of_numbers(np.array([7, 9, 7]))
    assert same[0].tolist() == same[2].tolist() != same[1].tolist()


def test_a_codebook_is_counted_drawn_and_searched():
    model = tiny_model('grid')
    found = survey(model, [PHOTO, PHOTO[::-1]], 48)
    one = examine(model, fit(PHOTO, [model], 48)).codes
    assert one is not None
    assert found.counts_K is not None
    assert found.counts_K.sum() == 2 * one.layout.length
    used = int((found.counts_K > 0).sum())
    assert f'2 photos use {used} of them ({100 * used / 16:.1f} %)' in found.sentence
    points = cloud(found)
    assert points['codes'] == list(range(16))
    assert (min(points['x']), max(points['x']), min(points['y']), max(points['y'])) == (0, 1, 0, 1)
    few = cloud(found, most=6)
    top = sorted(range(16), key=lambda row: (-found.counts_K[row], row))[:3]
    assert set(top) <= set(few['codes'])
    assert len(few['codes']) <= 6
    rows, distances = nearest(found.codebook_KD, 3, 4)
    every = np.linalg.norm(found.codebook_KD - found.codebook_KD[3], axis=1)
    assert sorted(every)[1:5] == pytest.approx(distances.tolist())
    assert 3 not in rows
    with pytest.raises(UserError, match='codes 0 to 15, got 16'):
        nearest(found.codebook_KD, 16)
    svg = usage_svg(found.counts_K)
    assert svg.startswith('<svg')
    assert 'nan' not in svg
    assert 'nan' not in usage_svg(np.zeros(4, np.int64))


def test_a_code_looks_like_an_image_of_nothing_else():
    model = tiny_model('grid')
    pictures = looks(model, [3, 4])
    assert pictures is not None
    whole = decode(model, np.full(25, 3), CodeLayout(Grid(5, 5), 16))
    assert np.array_equal(pictures[0], whole[2:8, 2:8])
    assert not np.array_equal(*pictures)
    assert [looks(tiny_model(name), [0]) for name in ('residual', 'pyramid', 'sequence', 'joined')] == [None] * 4


def test_codebooks_that_cannot_be_listed_say_so_and_photos_still_work():
    with pytest.raises(UserError, match='68,719,476,736 codes, more than'):
        codebook_of(tiny_model('huge').quantizer)
    assert open_view('huge', tiny_model('huge'), PHOTO, 48).vectors_LD is not None
    assert survey(tiny_model('tokens'), [PHOTO], 48).counts_K is None
    sizes = (10, 20)
    assert [name_of_row(sizes, row, 30) for row in (9, 10)] == ['code 9 of book 1', 'code 0 of book 2']
    assert name_of_row(sizes, 9, 10) == 'code 9'


def test_two_tokenizers_see_the_same_pixels():
    shown, rows = compare(PHOTO, {'one': tiny_model('grid'), 'two': tiny_model('continuous')}, 48)
    assert [panel['title'] for panel in shown['panels']] == [
        'Original',
        'one',
        'two',
        'Difference, one',
        'Difference, two',
    ]
    assert shown['plane'] is None
    original, one, _, difference_one, _ = (pixels_of(panel['src']) for panel in shown['panels'])
    assert np.array_equal(difference(original, one), difference_one)
    assert rows[0][0] == 'one'
    assert rows[0][3] == f'{16 * 24:,}'
    assert rows[1][3:] == ['none, continuous', '-', '-']
