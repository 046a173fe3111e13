"""Schedules that count steps end with the run, however long it is."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fvq_core.config.read import load_config
from fvq_core.errors import UserError
from fvq_core.registry import HOOKS, TOKENIZERS
from fvq_quantizers.run_length_hook import RunLengthHook

MINI = Path(__file__).parents[2] / 'configs/mini'


def runner_of(row: str, iterations: int, accumulate: int = 1) -> Any:
    cfg = load_config(str(MINI / f'{row}.py'), {'train_cfg.max_iters': iterations})
    task = SimpleNamespace(tokenizer=TOKENIZERS.build(cfg.model['tokenizer']))
    runner = SimpleNamespace(task=task, max_iters=iterations, train_loop=SimpleNamespace(accumulate=accumulate))
    HOOKS.build(cfg.default_hooks['run_length']).before_run(runner)
    return runner


@pytest.mark.parametrize('iterations', [400, 1600])
def test_rows_reach_their_last_temperature_with_the_last_step(iterations: int) -> None:
    lgq = runner_of('lgq', iterations, accumulate=2).task.tokenizer.quantizer
    assert lgq.temperature_steps == 2 * iterations
    lgq.steps.fill_(iterations)  # half of the forwards
    assert float(lgq.temperature) == pytest.approx(0.55)
    loss = runner_of('ns_vq', iterations).task.tokenizer.quantizer.loss
    loss.steps.fill_(iterations - 1)
    assert float(loss.temperature) == pytest.approx(0.5**9)


def test_a_share_or_a_path_that_means_nothing_is_refused() -> None:
    with pytest.raises(UserError, match=r'share in \(0, 1\]'):
        RunLengthHook({'quantizer.temperature_steps': 0.0})
    runner = runner_of('lgq', 400)
    for path in ('quantizer.no_such', 'quantiser.temperature_steps', 'quantizer.embedding'):
        with pytest.raises(UserError, match='no number of steps'):
            RunLengthHook({path: 1.0}).before_run(runner)
