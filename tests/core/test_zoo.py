"""Models by name: which there are, and that pretrained weights are those of the named model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from fvq_core.data import BundledPhotos
from fvq_core.errors import UserError
from fvq_core.images import from_uint8, to_uint8
from fvq_core.registry import TOKENIZERS
from fvq_core.saving.read_folder import INCLUDED
from fvq_core.tokenizer import Tokenizer
from fvq_core.zoo import create_model, list_models, model_config
from tests.tiny import kl_config


def test_models_are_listed_by_name_or_last_part():
    assert {'fvq/fvq_16k', 'ablations/fvq_4k', 'mini/fvq_dit'} <= set(list_models('fvq*'))
    assert not any('linear' in name for name in list_models('fvq*'))
    assert list_models('generation/llamagen_?') == ['generation/llamagen_b', 'generation/llamagen_l']
    assert not [name for name in list_models() if '_base_' in name or 'sweep' in name]


@pytest.mark.parametrize(
    ('name', 'size', 'codes'),
    [('fvq_16k', None, 16384), ('mini/fsq', 'k4096', 4375), ('fvq/var_16k', None, 16384), ('rqvae_10e', None, 16384)],
)
def test_a_tokenizer_is_what_its_config_describes(name: str, size: str | None, codes: int):
    with torch.device('meta'):
        tokenizer = create_model(name, size=size, device='meta')
    assert isinstance(tokenizer, Tokenizer)
    assert set(tokenizer.layout(256, 256).vocabularies) == {codes}
    assert tokenizer.training


def test_a_generator_is_what_its_config_describes():
    with torch.device('meta'):
        generator = create_model('llamagen_b', device='meta')
    assert 110e6 < sum(parameter.numel() for parameter in generator.parameters()) < 113e6


def test_every_listed_model_is_described():
    kinds = {name: model_config(name)[0] for name in list_models('generation/*') + list_models('paper/*')}
    assert {kinds['generation/llamagen_b'], kinds['generation/codes_photos']} == {'generator', 'tokenizer'}


@pytest.mark.parametrize('folded', [True, False])
def test_pretrained_weights_are_loaded(folded: bool, tmp_path: Path):
    saved = create_model('fvq_photos').eval()
    saved = saved.fold() if folded else saved
    loaded = create_model('fvq_photos', saved.save_pretrained(tmp_path / 'tokenizer'))
    images = torch.rand(1, 3, 32, 32) * 2 - 1
    assert not loaded.training
    with torch.no_grad():
        assert torch.equal(loaded(images).reconstruction, saved(images).reconstruction)


@pytest.mark.parametrize('name', ['fvq_photos', 'restart_photos'])
def test_a_model_that_comes_with_fvq_is_loaded_by_its_name_and_does_what_its_card_says(name: str):
    tokenizer = create_model(name, pretrained=True)
    said = json.loads((INCLUDED / name / 'config.json').read_text())['metrics']['psnr']['value']
    crops = BundledPhotos(split='eval', crop_size=64, crops=250, held_out=2)  # the same number of each photo
    images = torch.stack([crops[number]['image'] for number in range(len(crops))])
    with torch.inference_mode():
        found = tokenizer(from_uint8(images)).reconstruction
    errors = (to_uint8(found).double() - images.double()).square().mean((1, 2, 3))
    psnr = (10 * (255**2 / errors).log10()).mean().item()
    assert abs(psnr - said) < 0.5, 'other crops of the same parts: 250, not 4,096'
    loaded = Tokenizer.from_pretrained(name)
    assert all(torch.equal(a, b) for a, b in zip(tokenizer.parameters(), loaded.parameters(), strict=True))


def test_no_other_model_comes_with_fvq():
    with pytest.raises(UserError, match='fvq_16k is not a saved tokenizer: there is no such folder'):
        create_model('fvq_16k', pretrained=True)


def test_weights_of_another_model_are_refused(tmp_path: Path):
    folder = create_model('mini/fsq').save_pretrained(tmp_path / 'tokenizer')
    with pytest.raises(UserError, match=r'does not hold mini/vq: quantizer\.\w+ is .* in the config'):
        create_model('mini/vq', folder)


def test_an_empty_list_is_a_setting_and_not_the_default(tmp_path: Path):
    half = dict(ch=8, ch_mult=[1, 2], num_res_blocks=1, norm_groups=4, z_channels=8)
    saved = TOKENIZERS.build(kl_config(encoder=dict(type='VQGANEncoder', **half)))
    lines = ['from fvq_core.training.tasks import TokenizerTask\n']
    config = kl_config(encoder=dict(type='VQGANEncoder', **half, attention=[]))  # in the middle only
    lines += [f'model = dict(type=TokenizerTask, tokenizer={config}, reconstruction_loss=dict(type="L2Loss"))\n']
    (tmp_path / 'mine.py').write_text(''.join(lines))
    with pytest.raises(UserError, match=r'encoder\.attention is not set in the folder and \[\] in the config'):
        create_model(str(tmp_path / 'mine.py'), saved.save_pretrained(tmp_path / 'tokenizer'))


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('fvq_17k', "no model 'fvq_17k'; did you mean 'fvq_16k'"),
        ('mlp5', "several models 'mlp5'; name one of confirmatory/mlp5, mini/gpu/mlp5, mini/mlp5"),
        ('no/such.py', 'config no/such.py does not exist'),
    ],
)
def test_a_name_that_is_not_one_is_refused(name: str, message: str):
    with pytest.raises(UserError, match=message):
        create_model(name)
