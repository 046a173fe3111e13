"""From photos to scored samples through the command line, as `make sample` does it, at a tiny size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fvq_core.commands import evaluate, extract_codes, sample, train

QUANTIZER = 'model.tokenizer.quantizer'
TINY_TOKENIZER = [
    'train_cfg.max_iters=2',
    'train_dataloader.batch_size=4',
    'val_dataloader.dataset.crops=4',
    f'{QUANTIZER}.codebook_size=16',
]
TINY_GENERATOR = [
    'train_cfg.max_iters=2',
    'train_dataloader.batch_size=4',
    'model.generator.layout.codebook_size=16',
    'model.generator.dim=32',
    'model.generator.depth=1',
]


@pytest.fixture(scope='module')
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Work dirs of a tokenizer and of a generator on its codes, and the codes."""
    root = tmp_path_factory.mktemp('chain')
    tokenizer, codes, generator = root / 'tokenizer', root / 'codes', root / 'generator'
    call = ['configs/generation/codes_photos.py', '--work-dir', str(tokenizer), '--cfg-options', *TINY_TOKENIZER]
    assert train.main(call) == 0
    call = [str(tokenizer / 'tokenizer'), 'bundled', str(codes), '--size', '64', '--crops', 'random', '2']
    assert extract_codes.main([*call, '--flip', '--workers', '0']) == 0
    call = ['configs/generation/llamagen_photos.py', '--work-dir', str(generator), '--cfg-options']
    assert train.main([*call, f'train_dataloader.dataset.root={codes}', *TINY_GENERATOR]) == 0
    return tokenizer, codes, generator


def drawn(folder: Path) -> np.ndarray:
    with np.load(folder / 'samples.npz') as file:
        return file['arr_0']


def test_samples_are_drawn_once_continued_and_scored(
    trained: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer, _, generator = trained
    call = [str(generator / 'generator'), str(tokenizer / 'tokenizer'), '--npz', '--classes', '3', '8', '--top-k', '5']
    assert sample.main([*call, '--num', '6', '--out', str(tmp_path / 'a'), '--batch-size', '4']) == 0
    assert sample.main([*call, '--num', '10', '--out', str(tmp_path / 'a'), '--images']) == 0
    assert sample.main([*call, '--num', '6', '--out', str(tmp_path / 'b'), '--batch-size', '1']) == 0
    assert drawn(tmp_path / 'a').shape == (10, 64, 64, 3)
    difference = drawn(tmp_path / 'a')[:6].astype(int) - drawn(
        tmp_path / 'b'
    )  # a decoder rounds otherwise in another batch
    assert np.abs(difference).max() <= 1
    assert len(list((tmp_path / 'a' / 'images').iterdir())) == 10
    capsys.readouterr()
    checkpoint = str(generator / 'iter_2.pth')
    assert sample.main([checkpoint, *call[1:], '--num', '6', '--out', str(tmp_path / 'c')]) == 0
    assert np.abs(drawn(tmp_path / 'c').astype(int) - drawn(tmp_path / 'b')).max() <= 1
    assert 'rows are classes 3, 8' in capsys.readouterr().out

    out = tmp_path / 'scores.json'
    call = [
        str(tmp_path / 'a' / 'samples.npz'),
        '--reference',
        'bundled',
        '--crop',
        '64',
        '--out',
        str(out),
        '--no-cache',
    ]
    assert evaluate.main([*call, '--extractor', 'RandomFeatures']) == 0
    metrics = json.loads(out.read_text())['metrics']
    assert any('fd_random' in name for name in metrics)
    assert all('partial' in metric['protocol'] for metric in metrics.values())


def test_another_tokenizer_or_other_settings_are_refused(
    trained: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer, codes, generator = trained
    other = tmp_path / 'other'
    call = ['configs/generation/codes_photos.py', '--work-dir', str(other), '--seed', '1']
    assert train.main([*call, '--cfg-options', *TINY_TOKENIZER]) == 0
    out = str(tmp_path / 'out')
    assert sample.main([str(generator / 'generator'), str(other / 'tokenizer'), '--num', '2', '--out', out]) == 2
    assert 'its codes mean other pixels' in capsys.readouterr().err
    call = [str(generator / 'generator'), str(tokenizer / 'tokenizer'), '--num', '2', '--out', out]
    assert sample.main(call) == 0
    assert sample.main([*call, '--seed', '1']) == 2
    assert 'drawn in another way (seed differ)' in capsys.readouterr().err
    assert sample.main([*call, '--classes', '10']) == 2
    assert 'numbers from 0 to 9' in capsys.readouterr().err
    assert train.main(['configs/generation/llamagen_photos.py', '--work-dir', str(tmp_path / 'g'), '--cfg-options',
                       f'train_dataloader.dataset.root={codes}']) == 2  # fmt: skip
    assert 'set model.generator.layout to' in capsys.readouterr().err
