"""What the demo page asks of generators, and what they draw, without a page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from fvq.demo.about import about_generator
from fvq.demo.drawing import PAINTED, draw, enlarged, fit_to, keep_part, painted_over, parse_classes, parts, why_not
from fvq.demo.models import MOST_FROM_HUB, Models, short_names, trained_here
from fvq.demo.settings_controls import Control, controls, given
from fvq_core.errors import UserError
from fvq_core.images import to_uint8
from fvq_core.registry import GENERATORS
from fvq_core.sampling_settings import SamplingSettings, expected, setting
from fvq_generators.image_sets.sample_plan import SamplePlan
from tests.pictures import picture

from .demo_models import save_models, tiny_images, tiny_model

PHOTO = np.asarray(picture(52, 36))


@dataclass(frozen=True)
class Settings(SamplingSettings):
    temperature: float = setting(1.0, 'how bold', least=0.0, most=2.0)
    top_k: int = setting(0, 'codes to choose from', least=0)
    top_p: float = setting(1.0, 'probability to choose from', above=0.0, most=1.0)
    greedy: bool = setting(False, 'take the best')
    schedule: str = setting('cosine', 'of the mask', choices=('cosine', 'linear'), flag='--mask-schedule')


def test_controls_are_derived_from_settings():
    found = controls(Settings(top_k=5))
    assert found == [
        Control('temperature', 'temperature', 'How bold: a finite number from 0 and up to 2', 'slider', 1.0, 0.0, 2.0),
        Control('top_k', 'top k', 'Codes to choose from: a whole number from 0', 'whole number', 5),
        Control('top_p', 'top p', 'Probability to choose from: a finite number above 0 and up to 1', 'number', 1.0),
        Control('greedy', 'greedy', 'Take the best', 'checkbox', False),
        Control('schedule', 'mask schedule', 'Of the mask', 'choice', 'cosine', choices=('cosine', 'linear')),
    ]
    assert given(found, [0.5, 7.0, None, True, 'linear']) == dict(
        temperature=0.5, top_k=7, greedy=True, schedule='linear'
    )
    assert Settings.of(given(found, [0.5, 7.0, None, True, 'linear'])).top_k == 7


@pytest.mark.parametrize('name', sorted(GENERATORS.known()))
def test_every_generator_has_controls_that_give_its_defaults_back(name: str):
    defaults = GENERATORS.known()[name].Sampling()
    found = controls(defaults)
    assert type(defaults).of(given(found, [each.value for each in found])) == defaults
    for each, declared in zip(found, defaults.__dataclass_fields__.values(), strict=True):
        assert declared.metadata['help'][1:] in each.help
        assert each.kind in ('checkbox', 'choice') or expected(declared) in each.help


def test_classes_are_numbers_lists_and_ranges():
    assert parse_classes(' 3 ', 5) == (3,)
    assert parse_classes('0, 4 1-3', 5) == (0, 4, 1, 2, 3)
    assert parse_classes('', 3) == (0, 1, 2)
    for wrong in ('5', '-1', 'cat', '3-1', '2-9', '1.5', '9' * 30):
        with pytest.raises(UserError, match='classes are numbers from 0 to 4'):
            parse_classes(wrong, 5)
    with pytest.raises(UserError, match='classes take up to 1,000 letters, got 6,000'):
        parse_classes('0-999 ' * 1000, 1000)


def test_images_are_those_of_the_command_line_in_any_portions():
    model = tiny_images('LlamaGen')
    steps = list(draw(model, (1, 4), 5, 3, dict(top_k=4), at_once=2))
    assert [len(step) for step in steps] == [2, 4, 5]
    plan = SamplePlan(5, (1, 4), False, 3, {})
    seeds = [plan.image_seed(number) for number in range(5)]
    expected = to_uint8(model.sample([1, 4, 1, 4, 1], seeds=seeds, top_k=4)).permute(0, 2, 3, 1).numpy()
    assert [label for _, label in steps[-1]] == [1, 4, 1, 4, 1]
    for (pixels, _), own in zip(steps[-1], expected, strict=True):
        assert np.abs(pixels.astype(int) - own).max() <= 1, 'another batch may round otherwise'
    for count in (0, 65):
        with pytest.raises(UserError, match='draws 1 to 64 images'):
            next(draw(model, (1,), count, 0, {}))
    with pytest.raises(UserError, match='temperature must be'):
        next(draw(model, (1,), 1, 0, dict(temperature=-1.0)))


def test_a_part_of_a_photo_is_kept():
    model = tiny_images('MaskGIT')
    pixels = fit_to(model, PHOTO)
    assert pixels.shape == (16, 24, 3)
    kept = keep_part(model, pixels, 'left')
    assert (kept.picture[:, 12:] == 128).all()
    assert np.array_equal(kept.picture[:, :12], pixels[:, :12])
    keep = kept.keep_L.view(8, 12)
    assert keep[:, :6].all()
    assert not keep[:, 6:].any()
    first, second = (list(draw(model, (2,), 1, seed, {}, kept))[-1][0][0] for seed in (0, 1))
    assert not np.array_equal(first, second), 'the rest is drawn'
    codes = {}
    original = model.tokenizer.decode
    model.tokenizer.decode = lambda drawn: codes.setdefault('drawn', drawn) and original(drawn)
    list(draw(model, (2,), 1, 0, {}, kept))
    assert torch.equal(codes['drawn'].indices_BL[:, kept.keep_L], kept.codes.indices_BL[:, kept.keep_L])
    painted = np.zeros((16, 24), bool)
    painted[4:8, 4:8] = True
    assert (~keep_part(model, pixels, PAINTED, painted).keep_L).sum() == 4
    for part, mask, message in (
        (PAINTED, None, 'nothing to draw'),
        (PAINTED, ~painted & False, 'nothing to draw'),
        ('all', None, "keep 'all'"),
    ):
        with pytest.raises(UserError, match=message):
            keep_part(model, pixels, part, mask)
    with pytest.raises(UserError, match='nothing of the photo is kept'):
        keep_part(model, pixels, PAINTED, ~painted | True)


def test_what_is_painted_on_the_enlarged_photo_is_drawn():
    pixels = fit_to(tiny_images('MaskGIT'), PHOTO)
    large = enlarged(pixels)
    assert large.shape == (320, 480, 3)
    assert np.array_equal(large[::20, ::20], pixels)
    layer = np.zeros((320, 480, 4), np.uint8)
    layer[59:61, 100] = 255  # on the border of two pixels
    painted = painted_over([layer], 16, 24)
    assert np.argwhere(painted).tolist() == [[2, 5], [3, 5]]
    for nothing in ([], [np.zeros_like(layer)], [np.ones((7, 7, 4), np.uint8)]):
        with pytest.raises(UserError, match='paint over the part'):
            painted_over(nothing, 16, 24)


def test_generators_that_cannot_keep_a_part_offer_none():
    whole = tiny_images('LlamaGen')
    whole.generator.inpaints = False
    assert parts(whole) == []
    assert parts(tiny_images('MaskGIT'))[:2] == ['top', 'bottom']
    assert why_not(tiny_images('LlamaGen')) == ''
    assert 'fvq sample --captions' in why_not(tiny_images('LlamaGen', caption_dim=8, caption_tokens=4))
    assert about_generator(tiny_images('MaskGIT')).startswith('MaskGIT: 24x16 images of 5 classes; ')


def test_models_are_loaded_by_name_and_generators_find_their_tokenizer(tmp_path: Path):
    saved = save_models(tmp_path)
    alone = str(tiny_images('LlamaGen', with_tokenizer=False).save_pretrained(tmp_path / 'alone' / 'generator'))
    models = Models([saved['residual'], saved['grid']], [alone])
    assert models.names == ['residual', 'grid']
    assert models.generator('alone').tokenizer is not None
    with pytest.raises(UserError, match='none of those named is it'):
        Models([saved['residual']], [alone])
    with pytest.raises(UserError, match="no tokenizer 'grid2'"):
        models.tokenizer('grid2')
    with pytest.raises(UserError, match='no generator'):
        models.generator('grid')
    assert Models([], [saved['MaskGIT']]).names == ['tokenizer of MaskGIT']
    with pytest.raises(UserError, match='there is no tokenizer to show'):
        Models([])
    with pytest.raises(UserError, match='no such folder'):
        Models([str(tmp_path / 'missing')])


def test_users_load_tokenizers_of_the_hub_only_where_they_may_and_never_folders(tmp_path: Path):
    saved = save_models(tmp_path)
    asked = []

    def fetch(repository: str) -> Path:
        asked.append(repository)
        return Path(saved['residual'])

    with pytest.raises(UserError, match='only the tokenizers that it was started with'):
        Models([saved['grid']]).add('ada/fvq', fetch)
    models = Models([saved['grid']], from_hub=True)
    assert models.add(' ada/fvq ', fetch) == 'ada/fvq'
    assert models.add('ada/fvq', fetch) == 'ada/fvq'
    assert asked == ['ada/fvq'], 'once'
    for number in range(MOST_FROM_HUB):
        models.add(f'ada/{number}', fetch)
    assert models.names == ['grid', *(f'ada/{number}' for number in range(MOST_FROM_HUB))], 'the oldest made room'
    for path in (saved['residual'], '../residual/tokenizer', '/etc', ''):
        with pytest.raises(UserError, match='is not a repository id'):
            models.add(path)


def test_what_training_left_is_found_and_named_shortly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert trained_here() == ([], [])
    for name in ('codes_photos', 'a_run', 'fvq_photos'):
        tiny_model('grid').save_pretrained(Path('work_dirs') / name / 'tokenizer')
    Path('work_dirs/empty/tokenizer').mkdir(parents=True)
    tokenizers, generators = trained_here()
    assert tokenizers == [f'work_dirs/{name}/tokenizer' for name in ('fvq_photos', 'a_run', 'codes_photos')]
    assert generators == []
    assert short_names(tokenizers) == ['fvq_photos', 'a_run', 'codes_photos']
    assert short_names(['ada/fvq', *tokenizers[:1] * 2]) == ['ada/fvq', *tokenizers[:1] * 2]
