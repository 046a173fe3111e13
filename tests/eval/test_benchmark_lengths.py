"""Rows at several lengths: a schedule for each, compared with their own kind, and paired by seed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fvq_core.training.run_parts import build_run_parts
from fvq_eval.benchmark.fairness import check_fairness, unusual
from fvq_eval.benchmark.reference import references
from fvq_eval.benchmark.rows import read_rows
from fvq_eval.benchmark.run import run_config
from fvq_eval.benchmark.scheduler import Benchmark
from fvq_eval.commands.benchmark import main

from ..pictures import picture, save
from .benchmark_runs import CONFIRMATORY, FVQ, TOY, VQ


def test_each_config_is_a_row_at_each_length_beside_its_own_reference() -> None:
    rows = read_rows([VQ, FVQ], {}, lengths=[4, 16])
    assert [(row.key, row.name, row.steps) for row in rows] == [
        ('mini/steps4/vq', 'steps4/vq', 4),
        ('mini/steps4/fvq', 'steps4/fvq', 4),
        ('mini/steps16/vq', 'steps16/vq', 16),
        ('mini/steps16/fvq', 'steps16/fvq', 16),
    ]
    assert [row.cfg.train_cfg.max_iters for row in rows if row.cfg] == [4, 4, 16, 16]
    assert references(rows)['steps16/vq'] == 'steps16/fvq'
    check_fairness(rows)  # their length is in their names
    assert unusual(rows, exempt=False) == []
    assert [row.key for row in read_rows([VQ], {}, ['k4096'], [4])] == ['mini/steps4/k4096/vq']


def test_one_length_and_several_exclude_each_other(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main([VQ, '--steps', '4', '--lengths', '4', '8', '--work-dir', str(tmp_path)]) == 2
    assert '--steps and --lengths exclude each other' in capsys.readouterr().err


def test_runs_of_one_seed_share_the_start_of_the_encoder_and_the_order_of_the_data(tmp_path: Path) -> None:
    for seed in range(4):
        save(picture(90, 80, seed), tmp_path / f'{seed}.png')
    names = ('vq', 'fvq', 'mlp5', 'linear', 'ema_restart', 'simvq')
    data = {'train_dataloader.dataset.root': str(tmp_path), 'val_cfg': None}
    starts, batches = {}, {}
    for seed in (1, 2):
        for row in read_rows([str(CONFIRMATORY / f'{name}.py') for name in names], {**TOY, **data}):
            if 'normal_codes_1' not in row.key or row.key.endswith('10'):
                continue
            (run,) = Benchmark([row], [seed], [1.0], tmp_path / 'out').tuning_runs()
            parts = build_run_parts(run_config(run, []))
            starts[row.key, seed] = [value.clone() for value in parts.task.tokenizer.encoder.state_dict().values()]
            loaded = iter(parts.train_loader)
            batches[row.key, seed] = [next(loaded)['images'] for _ in range(3)]
    assert len(starts) == 2 * len(names)
    for found in (starts, batches):
        for (key, seed), values in found.items():
            same = found['confirmatory/vq_normal_codes_1', seed]
            other = found['confirmatory/vq_normal_codes_1', 3 - seed]
            assert all(torch.equal(one, two) for one, two in zip(values, same, strict=True)), key
            assert not all(torch.equal(one, two) for one, two in zip(values, other, strict=True)), key
