"""The metrics of a config for a checkpoint, without a training run."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Literal

from mmengine.config import Config

from fvq_core.errors import UserError, user_errors
from fvq_core.metric import MetricValue
from fvq_core.ops.distributed import choose_device
from fvq_core.training.checkpoint import read_checkpoint
from fvq_core.training.load_task import inference_task, load_task
from fvq_core.training.run_parts import build_checked_loader, build_metrics, check_entries


def evaluation_task(cfg: Config, path: str, weights: Literal['ema', 'raw'] | None = None) -> Any:
    """The task of an `iter_N.pth` or of a saved tokenizer's folder, in eval mode on the config's device."""
    with user_errors('this config cannot be used'):
        check_entries(cfg, ['model'])
        if cfg.get('val_dataloader') is None:
            raise UserError(
                'the config has no val_dataloader. A generator is evaluated by its samples: tools/sample.py, then '
                'tools/evaluate.py.'
            )
        if Path(path).is_dir():
            task = inference_task(cfg.model)
            setattr(task, next(iter(task.parts())), task.load_saved(path))
        else:
            task = load_task(read_checkpoint(path), path, cfg, weights)
        return task.to(choose_device(cfg.get('device', 'auto'))).eval()


def evaluate_checkpoint(
    cfg: Config, path: str, weights: Literal['ema', 'raw'] | None = None
) -> tuple[dict[str, MetricValue], str]:
    """The config's metrics for an `iter_N.pth` or a saved tokenizer's folder, and what their stamps call the weights."""
    task = evaluation_task(cfg, path, weights)
    with user_errors('this config cannot be used'):
        metrics = build_metrics(cfg, task)
        loader = build_checked_loader(cfg, 'val_dataloader', cfg.randomness.get('seed') or 0, task)
    return task.evaluate(loader, metrics, logging.getLogger('fvq')), f'{path}{task.weights_note}'
