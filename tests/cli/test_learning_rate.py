"""The learning rate that a run uses: the schedule over the run's own length, scaled by the batch where a config asks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fvq_core.commands import train
from fvq_core.config.read import load_config
from fvq_core.training.schedules.warmup_hold_decay import lr_multiplier

from .helpers import NO_REPORT, PHOTOS

EVERY = ['default_hooks.training_log.interval=1', 'train_cfg.max_iters=6', 'train_cfg.val_interval=0']


@pytest.mark.parametrize(
    ('scaling', 'factor'),
    [([], 1), (['auto_scale_lr.enable=True', 'auto_scale_lr.base_batch_size=128'], 2 / 128)],
)
def test_schedule_and_batch_scaling(scaling: list[str], factor: float, tmp_path: Path) -> None:
    base = load_config(PHOTOS).optim_wrapper.optimizer.lr * factor
    code = train.main((PHOTOS, '--work-dir', str(tmp_path / 'work'), '--cfg-options', *NO_REPORT, *EVERY, *scaling))
    assert code == 0
    rows = [json.loads(line) for line in (tmp_path / 'work/history.jsonl').read_text().splitlines()]
    rates = [row['lr'] for row in rows if row['split'] == 'train']
    # the log shows the rate of the step just taken
    assert rates == pytest.approx([base * lr_multiplier(step, 6) for step in range(6)])
