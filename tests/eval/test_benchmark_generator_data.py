"""What a benchmark's generators are trained and scored on, and what is refused before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from torch import Tensor, nn

from fvq_core.codes import CodeLayout, Grid, Pyramid
from fvq_core.data.photos import PHOTO_NAMES
from fvq_core.errors import UserError
from fvq_core.images import from_uint8
from fvq_eval.benchmark.code_costs import group_of_each_code
from fvq_eval.benchmark.generator_config import check_generator, default_config, generator_config
from fvq_eval.benchmark.generator_data import check_data, crop_options, drawn_crops, image_set
from fvq_eval.benchmark.sample_distances import SampleDistances
from fvq_eval.commands.benchmark import main

from ..pictures import picture, save
from .benchmark_runs import VQ

TRAIN, EVAL = (dict(type='BundledPhotos', split=split, crop_size=16, crops=40) for split in ('train', 'eval'))
SHARES = dict(type='ADMRandomCrop', size=16, min_fraction=0.25, max_fraction=0.5, upsample=True)
CENTER = dict(type='ADMCenterCrop', size=16)
ONE, DEPTHS, SCALES = CodeLayout(Grid(2, 2), 8), CodeLayout(Grid(2, 2), (8, 8)), CodeLayout(Pyramid(((1, 1),)), 8)
BITS = CodeLayout(Pyramid(((1, 1), (2, 2))), (2, 2, 2))


@pytest.fixture
def folder(tmp_path: Path) -> str:
    for number in range(5):
        save(picture(40, 32, number), tmp_path / 'photos' / f'{number}.png')
    return str(tmp_path / 'photos')


def data(train: dict[str, Any], val: dict[str, Any]) -> Any:
    return Config(dict(train_dataloader=dict(dataset=train), val_dataloader=dict(dataset=val)))


def test_codes_are_of_crops_cut_as_the_tokenizers_own(folder: str):
    assert (image_set(TRAIN), image_set(EVAL)) == ('bundled', 'bundled:eval')
    start = ['--size', '16', '--upsample', '--crops']
    assert crop_options(TRAIN, 'bundled', 2000) == [*start, 'native', '200']
    most = crop_options({**TRAIN, 'short_side': 32}, 'bundled', 50)
    assert most == [*start, 'random', '5', '--crop-range', '0.5', '0.5']
    random, center = (dict(type='ImageFolder', root=folder, transforms=[crop]) for crop in (SHARES, CENTER))
    assert image_set(random) == folder
    assert crop_options(random, folder, 50) == [*start, 'random', '10', '--crop-range', '0.25', '0.5']
    assert crop_options(center, folder, 50) == [*start, 'center']


@pytest.mark.parametrize(
    ('train', 'val', 'message'),
    [
        (TRAIN, TRAIN, 'expected evaluation crops that are held out, got those of bundled for training and evaluation'),
        (
            {**TRAIN, 'held_out': 2},
            {**EVAL, 'held_out': 2},
            'expected all ten bundled photos with the right quarter held',
        ),
        ({**TRAIN, 'photos': ['ihc']}, EVAL, 'expected all ten bundled photos with the right quarter held out'),
        (TRAIN, {**EVAL, 'crops': 3}, 'expected 4 evaluation crops or more, got 3'),
        (TRAIN, dict(type='ImageFolder', root='here', transforms=[]), 'as the first transform, got NoneType'),
        (dict(type='RandomCodes', crop_size=16), EVAL, 'expected data with a root folder, got a RandomCodes'),
    ],
)
def test_data_that_serve_no_generator_are_refused_in_one_line(train: dict, val: dict, message: str):
    with pytest.raises(UserError, match=message) as caught:
        check_data(data(train, {**val, 'crop_size': 16}))
    assert '\n' not in str(caught.value)


def test_the_unigram_code_has_shares_for_each_slot_of_each_scale():
    expected = {ONE: [0] * 4, DEPTHS: [0, 1] * 4, SCALES: [0], BITS: [0, 1, 2, *[3, 4, 5] * 4]}
    assert {layout: group_of_each_code(layout).tolist() for layout in expected} == expected


def test_codes_get_the_generator_that_they_fit():
    kinds = {layout: Path(default_config(layout)).stem for layout in (ONE, DEPTHS, SCALES, BITS)}
    assert list(kinds.values()) == ['llamagen', 'rq_transformer', 'var', 'infinity']
    for layout in kinds:
        check_generator(None, layout)
        assert generator_config(None, layout).model.generator.layout == layout.to_dict()


@pytest.mark.parametrize(
    ('config', 'layout', 'message'),
    [
        (None, None, 'expected codes to predict, got a continuous autoencoder'),
        ('configs/generation/small/llamagen.py', SCALES, 'LlamaGen'),
        ('configs/generation/small/var.py', ONE, 'VAR'),
        ('configs/generation/maskgit_photos.py', ONE, 'MaskGIT: expected a generator whose loss is the likelihood'),
        ('configs/mini/vq.py', ONE, 'expected the config of a generator, got one without model.generator'),
        ('configs/generation/small/no.py', ONE, 'no.py'),
    ],
)
def test_a_generator_that_does_not_fit_is_refused_in_one_line(config: Any, layout: Any, message: str):
    with pytest.raises(UserError, match=message) as caught:
        check_generator(config, layout)
    assert '\n' not in str(caught.value)


def test_the_config_of_a_generator_needs_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    call = [VQ, '--generator-config', 'configs/generation/small/llamagen.py', '--work-dir', str(tmp_path / 'new')]
    assert main(call) == 2
    assert '--generator-config goes with --generator; add it' in capsys.readouterr().err
    assert not (tmp_path / 'new').exists()


def test_crops_are_drawn_from_all_photos_and_are_the_same_each_time():
    found = drawn_crops(EVAL, 20)
    assert found.shape == (20, 3, 16, 16)
    assert torch.equal(found, drawn_crops(EVAL, 20))
    every = drawn_crops(EVAL, 100)
    assert len(every) == 40, 'no crop twice'
    reference = every[0::2]
    numbers = {next(n % 10 for n in range(40) if torch.equal(crop, drawn(n))) for crop in reference}
    assert len(numbers) > len(PHOTO_NAMES) / 2, 'the halves are no halves of the photos'


def drawn(number: int) -> Tensor:
    from fvq_core.data.photos import BundledPhotos

    image = BundledPhotos('eval', 16, 40)[number]['image']
    assert image is not None
    return image


class Perfect(nn.Module):
    """An autoencoder that returns its images, and counts them."""

    seen = 0

    def forward(self, images: Tensor) -> Any:
        self.seen += len(images)
        return type('Output', (), dict(reconstruction=images))


def test_distances_of_perfect_reconstructions_and_samples_are_those_of_real_crops():
    distances, autoencoder = SampleDistances(dict(type='RandomFeatures'), 20), Perfect()
    cfg = data(TRAIN, EVAL)
    found = distances.measure(cfg, autoencoder, drawn_crops(TRAIN, 20))
    assert found['kid_of_reconstructions'].value == pytest.approx(found['kid_of_real'].value, abs=1e-9)
    assert found['kid_of_samples'].value == found['kid_of_training_crops'].value
    assert autoencoder.seen == found['kid_of_reconstructions'].samples == 20
    assert 'random features' in found['kid_of_samples'].protocol
    assert 'against 20 real evaluation crops' in found['kid_of_samples'].protocol
    grey = distances.measure(cfg, autoencoder, torch.full((20, 3, 16, 16), 128, dtype=torch.uint8))
    assert grey['kid_of_samples'].value > found['kid_of_samples'].value
    assert len(distances.real) == 1, 'what is real is measured once'
    assert torch.allclose(from_uint8(torch.tensor([0, 255], dtype=torch.uint8)), torch.tensor([-1.0, 1.0]))
