"""Models from checkpoints, and their numbers without a training run."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mmengine.config import Config

from .errors import UserError
from .metric import MetricValue
from .pretrained import from_pretrained, load_weights
from .registry import MODELS
from .runner.checkpoint import read_checkpoint
from .runner.evaluation_loop import EvaluationLoop
from .runner.runner import choose_device


def load_task(checkpoint: dict[str, Any], source: str, cfg: Any = None) -> Any:
    """The task of a checkpoint with its weights, on the CPU.

    Args:
        checkpoint: What `read_checkpoint` returned.
        source: Its path, for messages.
        cfg: A config with `model`; by default the one that the checkpoint carries.
    """
    if cfg is None:
        text = checkpoint.get('meta', {}).get('config')
        if not text:
            raise UserError(f'{source} carries no config; export it with the version that wrote it.')
        cfg = Config.fromstring(text, file_format='.py')
    task = MODELS.build(cfg.model)
    load_weights(task, checkpoint['state_dict'], str(source))
    return task


def evaluate_checkpoint(cfg: Any, path: str) -> dict[str, MetricValue]:
    """The config's metrics over its evaluation set, for an `iter_N.pth` or a saved tokenizer's folder."""
    device = choose_device(cfg.get('device', 'auto'))
    if Path(path).is_dir():
        task = MODELS.build(cfg.model)
        task.tokenizer = from_pretrained(path)
    else:
        task = load_task(read_checkpoint(path), path, cfg)
    runner = SimpleNamespace(
        model=task.to(device),
        seed=cfg.randomness.get('seed') or 0,
        logger=logging.getLogger('fvq'),
        call_hook=lambda stage, **arguments: None,
    )
    return EvaluationLoop(runner, cfg.val_dataloader, cfg.val_evaluator).run()
