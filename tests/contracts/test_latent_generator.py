"""A generator of continuous latents trains on a store of latents and draws images through what is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fvq_core.autoencoder import Autoencoder
from fvq_core.codes import Latents, Targets
from fvq_core.config.read import load_config
from fvq_core.errors import UserError
from fvq_core.images import to_uint8
from fvq_core.registry import GENERATORS, TOKENIZERS
from fvq_core.training.runner import Runner
from fvq_eval.rehearsal.shrink_config import logged, shrink_config
from fvq_eval.rehearsal.smoke import run_smoke
from fvq_generators.binding import bind_checked
from fvq_generators.commands import sample
from fvq_generators.extraction.extract_codes import extract_codes
from fvq_generators.extraction.images import PhotoParts
from fvq_generators.extraction.multi_crop import parse_crops
from fvq_generators.fingerprint import tokenizer_hash
from fvq_generators.image_generator import ImageGenerator
from fvq_generators.image_sets import SamplePlan

from ..tiny import tiny_tokenizer
from . import latent_generator  # noqa: F401  registers it
from .stand_ins import SIDE
from .test_stand_ins import CONTINUOUS

CONFIG = 'configs/generation/llamagen_photos.py'


@pytest.fixture(scope='module')
def autoencoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    return TOKENIZERS.build(CONTINUOUS).save_pretrained(tmp_path_factory.mktemp('kl') / 'autoencoder')


@pytest.fixture(scope='module')
def trained(autoencoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work dir of a generator after a few steps on a store of latents."""
    root = tmp_path_factory.mktemp('latents')
    loaded = Autoencoder.from_pretrained(autoencoder)
    names = dict(tokenizer='a stand-in', source='bundled photos')
    extract_codes(
        loaded, PhotoParts(), root / 'store', parse_crops(['center'], SIDE), names=names, log=lambda line: None
    )
    changes = {
        'train_dataloader.dataset.root': str(root / 'store'),
        'train_dataloader.batch_size': 4,
        'train_dataloader.num_workers': 0,
        'optim_wrapper.optimizer.lr': 3e-3,
        'train_cfg.max_iters': 60,
        'default_hooks.training_log.interval': 20,
        'default_hooks.report.sampling': dict(steps=3, cfg_scale=1.5),
        'device': 'cpu',
    }
    config = load_config(CONFIG, changes, work_dir=str(root / 'run'))
    config.model.generator = dict(type='TinyFlow', layout=loaded.layout(SIDE, SIDE).to_dict(), num_classes=10)
    Runner.from_cfg(config).train()
    return root / 'run'


def test_it_trains_on_a_store_of_latents_and_its_report_knows_no_codes(trained: Path, autoencoder: Path):
    rows = [row for row in logged(trained / 'history.jsonl') if row['split'] == 'train']
    assert rows[-1]['loss'] < 0.9 * rows[0]['loss']
    assert all('usage_window' not in row for row in rows)
    assert json.loads((trained / 'metrics.json').read_text())['metrics']['loss']['unit'] == ''
    config = json.loads((trained / 'generator/config.json').read_text())
    assert config['tokenizer_hash'] == tokenizer_hash(Autoencoder.from_pretrained(autoencoder))
    card = (trained / 'generator/README.md').read_text()
    assert 'by continuous latents' in card
    assert 'codes' not in card.split('## Metrics')[0]


def test_it_is_sampled_through_its_autoencoder_and_saved_with_it(trained: Path, autoencoder: Path, tmp_path: Path):
    model = ImageGenerator.load(trained / 'generator', autoencoder)
    images = model.sample([0, 9], seeds=[1, 2])
    drawn = model.generator.sample(torch.tensor([0, 9]), seeds=[1, 2], steps=3, cfg_scale=1.5)
    assert isinstance(drawn, Latents)
    with torch.no_grad():
        expected = Autoencoder.from_pretrained(autoencoder).decode(drawn).clamp(-1, 1)
    torch.testing.assert_close(images, expected)
    assert images.shape == (2, 3, SIDE, SIDE)
    assert torch.equal(drawn[1:].values, drawn.values[1:])
    assert model.sample([]).shape == (0, 3, SIDE, SIDE)
    again = ImageGenerator.from_pretrained(model.save_pretrained(tmp_path / 'saved'))
    assert torch.equal(again.sample([0, 9], seeds=[1, 2]), images)


def test_the_command_draws_its_images(trained: Path, autoencoder: Path, tmp_path: Path):
    call = [str(trained / 'generator'), str(autoencoder)]
    assert sample.main([*call, '--num', '3', '--npz', '--out', str(tmp_path), '--steps', '2', '--device', 'cpu']) == 0
    with np.load(tmp_path / 'samples.npz') as file:
        images = file['arr_0']
    seeds = [SamplePlan(3, tuple(range(10)), False, 0, {}).image_seed(number) for number in range(3)]
    drawn = to_uint8(ImageGenerator.load(*call).sample([0, 1, 2], seeds=seeds, steps=2)).permute(0, 2, 3, 1)
    assert np.abs(drawn.numpy().astype(int) - images).max() <= 1


def test_it_smokes(autoencoder: Path, tmp_path: Path):
    config = load_config(CONFIG, work_dir=str(tmp_path))
    layout = Autoencoder.from_pretrained(autoencoder).layout(SIDE, SIDE).to_dict()
    config.model.generator = dict(type='TinyFlow', layout=layout)
    lines: list[str] = []
    run_smoke(shrink_config(config), lines.append)
    assert any(line.startswith('exports:') for line in lines)


def test_latents_can_be_made_of_images_at_each_step(autoencoder: Path):
    loaded = Autoencoder.from_pretrained(autoencoder)
    generator = GENERATORS.build(dict(type='TinyFlow', layout=loaded.layout(SIDE, SIDE).to_dict()))
    images = torch.randint(256, (2, 3, SIDE, SIDE), dtype=torch.uint8)

    def drawn(batch: dict[str, Any]) -> Latents | None:
        torch.manual_seed(3)
        return generator.targets(batch, loaded).latents

    def expected(images: torch.Tensor) -> Latents:
        torch.manual_seed(3)
        return Latents(loaded.posterior(images / 127.5 - 1).sample(), loaded.layout(SIDE, SIDE))

    assert drawn(dict(images=images)) == expected(images)
    mirrored = drawn(dict(images=images, flip=torch.tensor([True, False])))
    assert mirrored == expected(torch.stack([images[0].flip(-1), images[1]]))
    assert generator.targets(dict(images=images), loaded).latents != expected(images)  # another draw
    with pytest.raises(UserError, match=r"the batch has no 'latents', its keys are images; set model\.tokenizer"):
        generator.targets(dict(images=images))
    with pytest.raises(UserError, match='TinyFlow: these images are encoded to'):
        generator.targets(dict(images=images[..., :16]), loaded)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(scale=2.0), 'has latents of .*scale=0.5.*, not of .*scale=2.0'),
        (dict(channels=8), 'has latents of .*channels=4.*, not of .*channels=8'),
    ],
)
def test_latents_of_another_kind_are_refused(autoencoder: Path, changes: dict[str, Any], message: str):
    loaded = Autoencoder.from_pretrained(autoencoder)
    layout = {**loaded.layout(SIDE, SIDE).to_dict(), **changes}
    with pytest.raises(UserError, match=message):
        bind_checked(GENERATORS.build(dict(type='TinyFlow', layout=layout)), loaded)
    with pytest.raises(UserError, match=r'Tokenizer has latents of LatentLayout.*, not of'):
        bind_checked(GENERATORS.build(dict(type='TinyFlow', layout=layout)), tiny_tokenizer().fold())


@pytest.mark.parametrize('wrong', [dict(codes=torch.zeros(1, 4)), dict(latents=torch.zeros(1, 4, 2, 2))])
def test_targets_are_codes_or_latents_and_not_tensors(wrong: dict[str, Any]):
    with pytest.raises(UserError, match=r'Targets: expected (Codes|Latents), got'):
        Targets(**wrong)
