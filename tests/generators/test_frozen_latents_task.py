"""A quantizer trained on a store of a frozen autoencoder's latents."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fvq_core.autoencoder import Autoencoder
from fvq_core.data.decoding import decode
from fvq_core.data.loader import build_loader
from fvq_core.data.photos import PHOTO_NAMES, load_photos
from fvq_core.errors import UserError
from fvq_core.images import from_uint8
from fvq_core.registry import DATASETS, METRICS, MODELS, TOKENIZERS
from fvq_core.training.optim_wrapper import build_optim_wrappers
from fvq_core.training.start_weights import find_start_weights
from fvq_generators.commands import extract_codes
from fvq_generators.data.codes_dataset import CodesDataset
from fvq_generators.extraction.images import image_source
from fvq_generators.tasks import FrozenLatentsTask
from tests.quantizers.test_frozen_latents import CONFIG, SCALED
from tests.tiny import kl_config, random_images, tokenizer_config

SIDE = 12
MODEL = dict(type='FrozenLatentsTask', tokenizer=CONFIG, reconstruction_loss=dict(type='L2Loss'))
STORE_METRICS = [dict(type='CodebookUsage'), dict(type='QuantizationError'), dict(type='RelativeError')]


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    source = TOKENIZERS.build(kl_config(**SCALED))
    torch.nn.init.normal_(source.pre_quant.weight)
    return source.save_pretrained(tmp_path_factory.mktemp('kl') / 'autoencoder')


@pytest.fixture(scope='module')
def store(folder: Path) -> Path:
    out = folder.parent / 'store'
    options = ['--size', str(SIDE), '--crops', 'native', '8', '--workers', '0', '--device', 'cpu']
    assert extract_codes.main([str(folder), 'bundled:2', str(out), *options]) == 0
    return out


def task(folder: Path | None = None, **changes: Any) -> FrozenLatentsTask:
    torch.manual_seed(0)
    built = MODELS.build({**MODEL, **changes})
    if folder is not None:
        find_start_weights(built, folder).load(built)
    return built


def loader(store: Path, train: bool = True, **options: Any) -> Any:
    return build_loader(
        dict(batch_size=8, dataset=dict(type='CodesDataset', root=str(store), **options)), 0, train, 'cpu'
    )


def test_training_lowers_the_error_of_latents_and_leaves_the_autoencoder_as_it_is(folder: Path, store: Path):
    trained = task(folder).place(torch.device('cpu')).train()
    assert not trained.frozen.training
    wrappers = build_optim_wrappers(
        dict(type='ClippedOptimWrapper', optimizer=dict(type='Adam', lr=3e-3)), trained.parts()
    )
    data = loader(store, means=True)
    trained.check_dataset(data.dataset)
    errors, steps = [], iter(data)
    for step in range(60):
        batch = next(steps, None)
        if batch is None:
            steps = iter(data)
            batch = next(steps)
        errors.append(float(trained.train_step([batch], wrappers, step)['losses']['reconstruction']))
    assert sum(errors[-10:]) < 0.7 * sum(errors[:10])
    saved = Autoencoder.from_pretrained(folder).state_dict()
    assert all(torch.equal(value, saved[key]) for key, value in trained.frozen.state_dict().items())


@torch.no_grad()
def test_a_batch_of_images_is_encoded_first(folder: Path):
    learner = task(folder)
    pixels = torch.randint(256, (2, 3, SIDE, SIDE), dtype=torch.uint8)
    expected = Autoencoder.from_pretrained(folder).posterior(from_uint8(pixels))
    torch.manual_seed(3)
    latents = learner.latents(dict(images=pixels))
    torch.manual_seed(3)
    assert torch.equal(latents.values, expected.sample()), 'as in a store, a latent is drawn'


def test_means_are_what_the_tokenizer_quantizes(folder: Path, store: Path):
    batch, drawn = next(iter(loader(store, means=True))), next(iter(loader(store)))
    found = CodesDataset(str(store), means=True)
    mean = found.stores[0].latents(3, 0)
    assert any(torch.equal(found[(3, position)]['latents'], mean) for position in range(40))
    assert not torch.equal(batch['latents'], drawn['latents'])


@torch.no_grad()
def test_a_held_out_store_is_evaluated_by_what_says_something_of_latents(folder: Path, store: Path):
    learner = task(folder).eval()
    metrics, data = (
        [METRICS.build(metric) for metric in STORE_METRICS],
        loader(store, train=False, every_crop=True, means=True),
    )
    values = learner.evaluate(data, metrics, logging.getLogger('fvq'))
    given = torch.cat([learner.latents(batch).normalized() for batch in data]).double()
    made = torch.cat([learner.val_step(batch).output.reconstruction for batch in data]).double()
    variance = (given - given.mean((0, 2, 3), keepdim=True)).square().mean((0, 2, 3)).sum()
    expected = (given - made).square().mean((0, 2, 3)).sum() / variance
    assert values['relative_error'].value == pytest.approx(float(expected))
    assert values['usage'].tokens == 20 * 8 * 36
    assert values['relative_quantization_error'].value > 0
    with pytest.raises(UserError, match='val_evaluator: PSNR need images, val_dataloader has latents'):
        learner.evaluate(data, [METRICS.build(dict(type='PSNR'))], logging.getLogger('fvq'))


def test_latents_of_another_autoencoder_are_refused(folder: Path, store: Path):
    stranger = task()  # which started from no weights
    data = loader(store)
    stranger.check_dataset(data.dataset)
    with pytest.raises(UserError, match=r'were made by tokenizer .*load that tokenizer'):
        stranger.latents(next(iter(data)))
    with pytest.raises(UserError, match=r'scale=0.7, .*, not of .*scale=0.5'):
        task(
            tokenizer={**CONFIG, 'encoder': {**CONFIG['encoder'], 'autoencoder': kl_config(latent_scale=0.7)}}
        ).check_dataset(data.dataset)
    with pytest.raises(UserError, match='learns latents, the training data are'):
        stranger.check_dataset(
            DATASETS.build(dict(type='RandomCodes', layout=dict(type='Grid', height=2, width=2, codebook_size=9)))
        )


def test_a_run_starts_from_the_autoencoder_or_from_a_whole_tokenizer(folder: Path, tmp_path: Path):
    first = task(folder)
    with torch.no_grad():
        for parameter in first.tokenizer.quantizer.parameters():
            parameter.add_(1.0)
    first.tokenizer.save_pretrained(tmp_path / 'whole')
    second = task(tmp_path / 'whole')
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )
    other = TOKENIZERS.build(kl_config())
    other.save_pretrained(tmp_path / 'other')
    with pytest.raises(UserError, match='make them the same'):
        find_start_weights(task(), tmp_path / 'other')
    with pytest.raises(UserError, match='trains a LatentTokenizer, Tokenizer has no frozen autoencoder'):
        task(tokenizer=tokenizer_config())


def test_codes_that_start_from_latents_get_four_for_each_code_of_a_group(folder: Path, store: Path):
    quantizer = dict(CONFIG['quantizer'], code_dim=2, init=dict(type='LatentInit'))
    product = dict(type='ProductQuantizer', quantizer=quantizer, groups=4)
    learner = task(folder, tokenizer={**CONFIG, 'quantizer': product})
    assert learner.tokenizer.quantizer.needs_init, 'the weights that it started from are those of the autoencoder'
    drawn: list[int] = []

    def batches() -> Any:
        for batch in loader(store):
            drawn.append(len(batch['latents']) * 36)
            yield batch

    learner.initialize_from_data(batches())
    assert not learner.tokenizer.quantizer.needs_init
    assert sum(drawn) >= 4 * 16 > sum(drawn[:-1])


def test_another_quarter_of_the_photos_can_be_held_out():
    training, held = image_source('bundled:2'), image_source('bundled:eval:2')
    assert [training.label(number) for number in range(4)] == [0, 0, 1, 1]
    left, right, quarter = (
        np.array(decode(source.data(number), 'apply')) for source, number in ((training, 4), (training, 5), (held, 2))
    )
    assert np.array_equal(np.concatenate([left, quarter, right], axis=1), load_photos()[PHOTO_NAMES[2]])


def test_frozen_is_frozen_with_other_parts_too(folder: Path):
    learner = task(folder, freeze=['quantizer']).train()
    assert not learner.frozen.training
    assert not any(parameter.requires_grad for parameter in learner.frozen.parameters())
    assert any(parameter.requires_grad for parameter in learner.tokenizer.decoder.parameters())
    assert learner.tokenizer(random_images(2, SIDE, SIDE)).reconstruction.shape == (2, 3, SIDE, SIDE)
