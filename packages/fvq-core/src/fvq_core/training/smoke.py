"""`--smoke`: any config at a tiny size on the CPU, proving that it trains, saves, tests, resumes and exports."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from mmengine.config import Config

from ..config.walk import components
from ..errors import SmokeError
from ..registry import find_component
from .checkpoint import read_checkpoint
from .evaluation import evaluate_checkpoint
from .hooks.history import HISTORY_NAME, History
from .hooks.training_log_hook import SPEED_KEYS
from .runner import Runner

if TYPE_CHECKING:
    from .evaluation_loop import EvaluationLoop
    from .train_loop import TrainLoop

ITERS, RESUME_AT, BATCH = 4, 2, 4


def shrink_config(cfg: Config) -> Config:
    """Make a config small: a component with a static `smoke(cfg)` returns the arguments to change.

    With `_replace_=True` they replace the whole dict, including its type. A data set with a static `fit_model(model)` then
    returns the arguments that make it fit the small model.
    """
    for _, node in list(components(cfg._cfg_dict)):
        smoke = getattr(find_component(node['type']), 'smoke', None)
        if smoke is None:
            continue
        changes = dict(smoke(node))
        if changes.pop('_replace_', False):
            node.clear()
        node.update(changes)
    validates = cfg.get('val_cfg') is not None
    for name in ('train_dataloader', 'val_dataloader') if validates else ('train_dataloader',):
        cfg[name].update(batch_size=BATCH, num_workers=0)
        dataset = cfg[name].dataset
        fit_model = getattr(find_component(dataset['type']), 'fit_model', None)
        if fit_model is not None:
            dataset.update(fit_model(cfg.model))
    cfg.train_cfg.update(max_iters=ITERS, val_interval=RESUME_AT if validates else 0)
    cfg.default_hooks.checkpoint.update(interval=RESUME_AT)
    cfg.default_hooks.training_log.update(interval=1)
    cfg.device, cfg.smoke, cfg.load_from = 'cpu', True, None  # weights of the full size do not fit
    return cfg


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


def logged(path: Path) -> list[dict[str, Any]]:
    """History rows without timings."""
    return [{key: value for key, value in row.items() if key not in SPEED_KEYS} for row in History(path).rows()]


def identical(one: Any, other: Any) -> bool:
    """Whether two nested states are equal bit for bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(identical(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(identical(a, b) for a, b in zip(one, other, strict=True))
    return one == other
