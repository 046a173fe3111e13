"""Quantizers on one store of frozen latents in one benchmark: every row trains on the store and is scored on images."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch

from fvq_core.autoencoder import Autoencoder
from fvq_core.config.read import load_config
from fvq_core.errors import UserError
from fvq_core.registry import TOKENIZERS
from fvq_core.training.checkpoint import read_checkpoint
from fvq_eval.benchmark import local_processes, worker
from fvq_eval.benchmark.fairness import check_fairness
from fvq_eval.benchmark.photo_data import crop_size
from fvq_eval.benchmark.rows import read_rows
from fvq_eval.benchmark.run import BenchmarkRun
from fvq_eval.commands.benchmark import main
from fvq_generators.commands import extract_codes

from .benchmark_runs import REPO

FROZEN = str(REPO / 'configs/mini/frozen/sweep.py')
PREFIX = 'tokenizer.encoder.autoencoder'


@pytest.fixture(scope='module')
def autoencoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    built = TOKENIZERS.build(load_config(FROZEN).model.tokenizer.encoder.autoencoder)
    return built.save_pretrained(tmp_path_factory.mktemp('kl') / 'tokenizer')


def test_rows_trained_on_one_store_are_reported_together(
    autoencoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def execute(run: BenchmarkRun, env: Any) -> dict[str, Any]:
        worker.main(run.folder)
        result = run.result()
        assert result is not None
        return result

    monkeypatch.setattr(local_processes, 'execute', execute)
    store = tmp_path / 'latents'
    crops = ['--size', '64', '--crops', 'native', '10', '--workers', '0', '--device', 'cpu']
    assert extract_codes.main([str(autoencoder), 'bundled:2', str(store), *crops]) == 0
    rows = load_config(FROZEN).sweep.row
    two = tmp_path / 'two.py'
    two.write_text(
        f'base = {FROZEN!r}\nsweep = dict(_delete_=True, row={dict(fvq=rows.fvq.to_dict(), fsq=rows.fsq.to_dict())})\n'
    )
    small = [f'load_from={autoencoder}', f'train_dataloader.dataset.root={store}', 'val_dataloader.dataset.crops=12']
    small += ['default_hooks.report.dataset=None', 'train_dataloader.batch_size=2']
    arguments = ['--steps', '2', '--perceptual', 'none', '--work-dir', str(tmp_path / 'runs')]
    assert main([str(two), *arguments, '--cfg-options', *small]) == 0
    with open(tmp_path / 'runs/report.csv') as file:
        lines = {line['row']: line for line in csv.DictReader(file)}
    assert lines.keys() == {'fvq', 'fsq'}
    for line in lines.values():
        assert line['codes'] == str(12 * 256)
        assert 0 < float(line['psnr_mean']) < 60
        assert float(line['relative_quantization_error_mean']) > 0
    saved = Autoencoder.from_pretrained(autoencoder).state_dict()
    checkpoints = list((tmp_path / 'runs').rglob('iter_2.pth'))
    assert len(checkpoints) == 2
    for checkpoint in checkpoints:
        weights = read_checkpoint(checkpoint)['state_dict']
        assert all(torch.equal(weights[f'{PREFIX}.{key}'], value) for key, value in saved.items())


def test_rows_of_two_autoencoders_are_not_compared() -> None:
    rows = read_rows([FROZEN], {})
    check_fairness(rows)
    assert rows[1].cfg is not None
    rows[1].cfg.load_from = 'work_dirs/other/tokenizer'
    with pytest.raises(
        UserError, match=r'differ in more than the quantizer: load_from \(work_dirs/kl_photos/tokenizer'
    ):
        check_fairness(rows)


def test_a_store_has_no_other_photos_and_no_crops_for_a_generator() -> None:
    config = load_config(FROZEN).train_dataloader.dataset
    with pytest.raises(
        UserError, match='got CodesDataset; rows that train on a store take neither --data nor --generator'
    ):
        crop_size(config)
