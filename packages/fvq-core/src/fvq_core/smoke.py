"""`--smoke`: any config at a tiny size on the CPU, proving that it trains, validates, saves, tests, resumes and folds."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from mmengine.config import Config

from .config import components
from .errors import UserError
from .evaluation import evaluate_checkpoint
from .hooks.history import History
from .hooks.training_log_hook import SPEED_KEYS
from .pretrained import from_pretrained
from .registry import find_component
from .runner.checkpoint import read_checkpoint
from .runner.runner import HISTORY_NAME, Runner

if TYPE_CHECKING:
    from .runner.evaluation_loop import EvaluationLoop
    from .tasks.tokenizer_task import TokenizerTask

ITERS, RESUME_AT, BATCH = 4, 2, 4


class SmokeError(UserError):
    """A smoke run showed that something does not work."""


def shrink_config(cfg: Config) -> Config:
    """Make a config small: each component that has a `smoke(cfg)` says what to change of itself.

    `smoke` returns arguments to replace; with `_replace_=True` they replace the whole dict, type included.
    """
    for _, node in list(components(cfg._cfg_dict)):
        smoke = getattr(find_component(node['type']), 'smoke', None)
        if smoke is None:
            continue
        changes = dict(smoke(node))
        if changes.pop('_replace_', False):
            node.clear()
        node.update(changes)
    for name in ('train_dataloader', 'val_dataloader'):
        cfg[name].update(batch_size=BATCH, num_workers=0)
    cfg.train_cfg.update(max_iters=ITERS, val_interval=RESUME_AT)
    cfg.default_hooks.checkpoint.update(interval=RESUME_AT)
    cfg.default_hooks.training_log.update(interval=1)
    cfg.device, cfg.smoke = 'cpu', True
    return cfg


def run_smoke(cfg: Config, report: Any = print) -> None:
    """Train a shrunk config, resume it from its middle, fold it; each must agree with the run it came from.

    Args:
        cfg: What `shrink_config` returned.
        report: Called with one line for each thing proven.

    Raises:
        SmokeError: Naming what differs.
    """
    work_dir = Path(cfg.work_dir)
    resumed_dir = work_dir / 'resumed'
    shutil.rmtree(resumed_dir, ignore_errors=True)
    straight = Runner.from_cfg(cfg)
    straight.train()
    val_loop = cast('EvaluationLoop', straight.val_loop)
    report(f'trains and validates: {ITERS} iterations, {", ".join(f"{k} {v}" for k, v in val_loop.results.items())}')
    last = f'iter_{ITERS}.pth'
    expected = read_checkpoint(work_dir / last)
    report(f'saves: {work_dir / last}')
    retested, _ = evaluate_checkpoint(cfg, str(work_dir / last))
    if retested != val_loop.results:
        raise SmokeError(f"test: {retested} of the checkpoint are not the run's own {val_loop.results}.")
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
    rows, rows_again = (logged(folder / HISTORY_NAME) for folder in (work_dir, resumed_dir))
    if rows != rows_again:
        raise SmokeError('resume: the logged history differs from the run that was never stopped.')
    report(f'resumes: weights, optimizer, schedule and history from iteration {RESUME_AT} on are bit-identical')

    trained = cast('TokenizerTask', straight.task.eval())
    folded = from_pretrained(work_dir / 'tokenizer', next(trained.parameters()).device)
    with torch.no_grad():
        images = trained.images(next(iter(val_loop.dataloader)))
        one, other = trained.tokenizer(images), folded(images)
        if not torch.equal(one.codes.indices_BL, other.codes.indices_BL):
            raise SmokeError('fold: codes differ from the training model.')
        if not torch.equal(one.reconstruction, other.reconstruction):
            raise SmokeError('fold: pixels differ from the training model.')
        if not torch.equal(folded.decode(folded.encode(images)), other.reconstruction):
            raise SmokeError('round trip: decode(encode(x)) differs from the reconstruction.')
    report(f'folds: {work_dir / "tokenizer"} gives the same codes and the same pixels')


def logged(path: Path) -> list[dict[str, Any]]:
    """History rows without what depends on the clock."""
    return [{key: value for key, value in row.items() if key not in SPEED_KEYS} for row in History(path).rows()]


def identical(one: Any, other: Any) -> bool:
    """Whether two nested states are equal to the last bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(identical(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(identical(a, b) for a, b in zip(one, other, strict=True))
    return one == other
