"""`--smoke`: any config at a tiny size on the CPU, proving that it trains, saves, tests, resumes and exports."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from mmengine.config import Config

from fvq_core.errors import SmokeError
from fvq_core.ops.identical import identical
from fvq_core.training.checkpoint import read_checkpoint
from fvq_core.training.hooks.history import HISTORY_NAME
from fvq_core.training.runner import Runner

from ..reconstruction.evaluate_checkpoint import evaluate_checkpoint
from .shrink_config import ITERS, RESUME_AT, logged

if TYPE_CHECKING:
    from fvq_core.training.evaluation_loop import EvaluationLoop
    from fvq_core.training.train_loop import TrainLoop


def run_smoke(cfg: Config, report: Any = print) -> None:
    """Train what `shrink_config` returned, test it, resume it halfway, load what it exports; all must agree with the run.

    `report` is called with a line for each thing that was proven. A `SmokeError` names what differs.
    """
    work_dir = Path(cfg.work_dir)
    resumed_dir = work_dir / 'resumed'
    shutil.rmtree(resumed_dir, ignore_errors=True)
    straight = Runner.from_cfg(cfg)
    straight.train()
    val_loop = cast('EvaluationLoop | None', straight.val_loop)
    results = {} if val_loop is None else val_loop.results
    report(f'trains: {", ".join([f"{ITERS} iterations", *(f"{k} {v}" for k, v in results.items())])}')
    last = f'iter_{ITERS}.pth'
    expected = read_checkpoint(work_dir / last)
    report(f'saves: {work_dir / last}')
    if val_loop is None:
        report('tests: nothing, it is not evaluated while it trains')
    else:
        retested, _ = evaluate_checkpoint(cfg, str(work_dir / last))
        if retested != results:
            raise SmokeError(f"test: {retested} of the checkpoint are not the run's own {results}.")
        report('tests: the checkpoint gives the numbers of the run')

    resumed_dir.mkdir()
    shutil.copy(work_dir / f'iter_{RESUME_AT}.pth', resumed_dir)
    shutil.copy(work_dir / HISTORY_NAME, resumed_dir)
    again = copy.deepcopy(cfg)
    again.work_dir, again.resume = str(resumed_dir), True
    Runner.from_cfg(again).train()
    got = read_checkpoint(resumed_dir / last)
    for part in ('state_dict', 'optimizer', 'param_schedulers'):
        if not identical(expected[part], got[part]):
            raise SmokeError(f'resume: {part} differs from the run that was never stopped.')
    if logged(work_dir / HISTORY_NAME) != logged(resumed_dir / HISTORY_NAME):
        raise SmokeError('resume: the logged history differs from the run that was never stopped.')
    report(f'resumes: weights, optimizer, schedule and history from iteration {RESUME_AT} on are bit-identical')

    batches = cast('TrainLoop', straight.train_loop).dataloader if val_loop is None else val_loop.dataloader
    report(f'exports: {straight.task.eval().check_export(work_dir, next(iter(batches)))}')
