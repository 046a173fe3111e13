"""The validation loss of a generator, and samples during training."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from fvq_core.codes import Codes, Targets
from fvq_core.config.read import load_config
from fvq_core.errors import UserError
from fvq_core.files.json import read_json
from fvq_core.ops.identical import identical
from fvq_core.training.checkpoint import read_checkpoint
from fvq_core.training.hooks.history import History
from fvq_core.training.runner import Runner
from fvq_eval.reconstruction.evaluate_checkpoint import evaluate_checkpoint
from fvq_generators.data import CodesDataset
from fvq_generators.pretrained import load_generator

from ..tiny import FVQ, tiny_tokenizer
from .tiny import GRID, generator_config, write_codes


def config(folder: Path, codes: Path, **options: Any) -> Any:
    """A run of 8 steps with a moving average and dropout, evaluated twice on every crop of a store."""
    data = dict(type='CodesDataset', root=str(codes), layout=GRID)
    changes: dict[str, Any] = {
        'train_dataloader': dict(batch_size=5, dataset=data),
        'val_dataloader': dict(batch_size=7, dataset=dict(data, every_crop=True)),
        'val_cfg': {},
        'train_cfg.max_iters': 8,
        'train_cfg.val_interval': 4,
        'default_hooks.training_log.interval': 4,
        'default_hooks.checkpoint.interval': 4,
        'default_hooks.ema': dict(type='EMAHook', decay=0.5),
        'device': 'cpu',
        **options,
    }
    cfg = load_config('configs/generation/llamagen_photos.py', changes, work_dir=str(folder))
    cfg.model.generator = generator_config()
    return cfg


@pytest.fixture(scope='module')
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Any]:
    root = tmp_path_factory.mktemp('validated')
    codes = write_codes(root / 'codes')
    tokenizer = tiny_tokenizer({**FVQ, 'codebook_size': 32}).fold().save_pretrained(root / 'tokenizer')
    samples = dict(type='SampleGridHook', interval=4, tokenizer=str(tokenizer), classes=[0, 3], columns=3)
    cfg = config(root / 'run', codes, **{'default_hooks.samples': samples})
    Runner.from_cfg(cfg).train()
    return root, codes, cfg


def test_it_is_the_mean_over_every_crop_without_dropout(run: tuple[Path, Path, Any]):
    root, codes, cfg = run
    rows = {row['iter']: row for row in History(root / 'run/history.jsonl').rows() if row['split'] == 'eval'}
    assert sorted(rows) == [4, 8]
    generator, _ = load_generator(root / 'run/generator')  # the moving average
    dataset = CodesDataset(str(codes), GRID, every_crop=True)
    assert len(dataset) == 24
    items = [dataset[number] for number in range(24)]
    assert {tuple(item['codes'].tolist()) for item in items[:2]} == {
        tuple(dataset.stores[0].codes(0, crop).tolist()) for crop in (0, 1)
    }
    every = Codes(torch.stack([item['codes'] for item in items]), generator.layout)
    labels = torch.tensor([item['label'] for item in items])
    expected = generator.eval().loss(Targets(every), labels)['cross_entropy'].item()
    assert rows[8]['val_loss'] == pytest.approx(expected, rel=1e-5)
    assert rows[8]['val_bits_per_image'] == pytest.approx(expected * 12 / math.log(2), rel=1e-5)
    assert rows[8]['val_loss'] != rows[4]['val_loss']
    metrics = json.loads((root / 'run/metrics.json').read_text())['metrics']
    assert metrics['val_loss']['value'] == rows[8]['val_loss']
    assert (metrics['val_loss']['samples'], metrics['val_loss']['unit']) == (24, 'nats a code')
    for weights in (root / 'run/iter_8.pth', root / 'run/generator'):
        again, _ = evaluate_checkpoint(cfg, str(weights))
        assert again['val_loss'].value == rows[8]['val_loss']


@pytest.mark.parametrize('freeze', [[], ['blocks', 'token_dropout']], ids=str)
def test_neither_validation_nor_samples_change_what_is_trained(
    run: tuple[Path, Path, Any], tmp_path: Path, freeze: list[str]
):
    root, codes, cfg = run
    watched = root / 'run'
    if freeze:
        watched = tmp_path / 'watched'
        samples = {'model.freeze': freeze, 'default_hooks.samples': cfg.default_hooks.samples}
        Runner.from_cfg(config(watched, codes, **samples)).train()
    plain = config(tmp_path / 'plain', codes, val_dataloader=None, val_cfg=None, **{'model.freeze': freeze})
    Runner.from_cfg(plain).train()
    one, other = (read_checkpoint(folder / 'iter_8.pth') for folder in (watched, tmp_path / 'plain'))
    assert identical(one['state_dict'], other['state_dict'])
    assert identical(one['ema_state_dict'], other['ema_state_dict'])


def test_samples_are_a_row_a_class_and_differ_from_one_time_to_the_next(run: tuple[Path, Path, Any]):
    pictures = [Image.open(run[0] / f'run/samples/iter_{number}.png') for number in (4, 8)]
    assert pictures[0].size[0] > pictures[0].size[1], 'three columns, two rows'
    assert pictures[0].tobytes() != pictures[1].tobytes()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'default_hooks.samples': dict(type='SampleGridHook')}, 'name the tokenizer of the training codes'),
        ({'val_evaluator': [dict(type='PSNR')]}, 'PSNR is of reconstructions; a generator is validated by its loss'),
        ({'val_dataloader.dataset.root': ['A', 'B']}, 'every_crop takes one store, got 2'),
    ],
)
def test_what_cannot_be_validated_is_refused(
    run: tuple[Path, Path, Any], tmp_path: Path, options: dict[str, Any], message: str
):
    if 'val_dataloader.dataset.root' in options:
        options = {'val_dataloader.dataset.root': [str(run[1])] * 2}
    with pytest.raises(UserError, match=message):
        Runner.from_cfg(config(tmp_path / 'new', run[1], **options)).train()


@pytest.mark.parametrize(
    ('sampling', 'generator', 'message'),
    [
        (dict(cfg_scale=2.0), dict(cond_dropout=0.0), 'cfg_scale 2.0 needs a model that was trained with cond_dropout'),
        (dict(steps=13), dict(type='RandAR'), '13 steps for 12 codes'),
    ],
    ids=str,
)
def test_what_cannot_be_drawn_is_refused_before_the_first_step(
    run: tuple[Path, Path, Any], tmp_path: Path, sampling: dict[str, Any], generator: dict[str, Any], message: str
):
    samples = {**run[2].default_hooks.samples, 'interval': 8, 'sampling': sampling}
    cfg = config(tmp_path / 'new', run[1], **{'default_hooks.samples': samples})
    cfg.model.generator.update(generator)
    with pytest.raises(UserError, match=message):
        Runner.from_cfg(cfg).train()
    assert not (tmp_path / 'new/iter_4.pth').exists()


def test_presets_are_not_for_generators(run: tuple[Path, Path, Any], capsys: pytest.CaptureFixture[str]):
    from fvq_eval.commands import test

    resolved = run[0] / 'run/config.py'
    assert test.main([str(resolved), str(run[0] / 'run/iter_8.pth'), '--preset', 'strict']) == 2
    assert 'reconstructs no images; score samples' in capsys.readouterr().err
    assert read_json(run[0] / 'run/metrics.json') is not None
