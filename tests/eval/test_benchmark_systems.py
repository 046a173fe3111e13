"""Whole systems in one benchmark: a continuous autoencoder has a row without codes and bits."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from fvq_core.registry import MODELS
from fvq_eval.benchmark import local_processes, worker
from fvq_eval.benchmark.rows import read_rows
from fvq_eval.benchmark.run import BenchmarkRun, run_config
from fvq_eval.benchmark.scheduler import Benchmark
from fvq_eval.commands.benchmark import main

from .benchmark_runs import REPO, VQ

SYSTEMS = sorted(str(path) for path in (REPO / 'configs/mini/systems').glob('*.py'))
KL = str(REPO / 'configs/mini/systems/kl.py')


def test_systems_have_networks_of_about_one_size_and_only_codes_have_bits() -> None:
    rows = {row.name: row for row in read_rows(SYSTEMS, {})}
    assert not [row.refusal for row in rows.values() if row.refusal]
    tokenizers = [MODELS.build(cfg.model).tokenizer for row in rows.values() if (cfg := row.cfg) is not None]
    halves = [half for tokenizer in tokenizers for half in (tokenizer.encoder, tokenizer.decoder)]
    sizes = [sum(parameter.numel() for parameter in half.parameters()) for half in halves]
    assert max(sizes) < 2 * min(sizes)
    assert (rows['kl'].codebook_size, rows['kl'].bits_per_image) == (0, 0.0)
    assert rows['cnn_fvq'].bits_per_image == rows['maskgit_vq'].bits_per_image == 2560
    assert rows['titok'].bits_per_image == 640


def test_a_run_without_codes_measures_none(tmp_path: Path) -> None:
    (run,) = Benchmark(read_rows([KL], {}), [0], [1.0], tmp_path).tuning_runs()
    (coded,) = Benchmark(read_rows([VQ], {}), [0], [1.0], tmp_path).tuning_runs()
    assert (run.has_codes, coded.has_codes) == (False, True)
    with_codes, without = (run_config(each, [dict(type='MSSSIM')]) for each in (coded, run))
    names = {getattr(metric['type'], '__name__', metric['type']) for metric in without.val_evaluator}
    assert names == {'PSNR', 'SSIM', 'MSSSIM'}
    assert 'latent_error' in with_codes.default_hooks
    assert 'latent_error' not in without.default_hooks


def test_a_continuous_autoencoder_trains_and_is_reported_beside_rows_with_codes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def execute(run: BenchmarkRun, env: Any) -> dict[str, Any]:
        worker.main(run.folder)
        result = run.result()
        assert result is not None
        return result

    monkeypatch.setattr(local_processes, 'execute', execute)
    small = ['train_dataloader.batch_size=2', 'val_dataloader.dataset.crops=12']
    arguments = ['--steps', '2', '--perceptual', 'none', '--work-dir', str(tmp_path), '--allow-differences']
    assert main([VQ, KL, *arguments, '--cfg-options', *small]) == 0
    assert 'kl lr x1 seed 0: PSNR' in capsys.readouterr().out
    report = (tmp_path / 'report.md').read_text()
    assert '| systems/kl | - | - | 1 | 0.001 |' in report
    assert 'No codes, hence no bits, for systems/kl: continuous latents.' in report
    with open(tmp_path / 'report.csv') as file:
        lines = {line['row']: line for line in csv.DictReader(file)}
    assert lines['systems/kl']['codes'] == lines['systems/kl']['bits_per_image'] == ''
    assert lines['vq']['codes'] == str(12 * 256)
