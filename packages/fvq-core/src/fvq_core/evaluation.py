"""Models from checkpoints, and their numbers without a training run."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

from mmengine.config import Config

from .config import components
from .errors import UserError
from .folding import fold_for_training
from .metric import MetricValue
from .pretrained import from_pretrained, load_weights
from .registry import MODELS, find_component
from .runner.checkpoint import read_checkpoint
from .runner.distributed import choose_device
from .runner.evaluation_loop import EvaluationLoop


def inference_task(cfg: Any) -> Any:
    """The task of a config without what only training needs: perceptual network, discriminator, files of start values."""
    model = copy.deepcopy(cfg.model)
    for name in getattr(find_component(model['type']), 'training_only', ()):
        model.pop(name, None)
    for _, node in list(components(model)):
        saved_as = getattr(find_component(node['type']), 'component_config', None)
        if saved_as is not None:
            node.clear()
            node.update(saved_as)
    return MODELS.build(model)


def load_task(
    checkpoint: dict[str, Any], source: str, cfg: Any = None, weights: Literal['ema', 'raw'] | None = None
) -> Any:
    """The task of a checkpoint with its weights, on the CPU, without what only training needs.

    Args:
        checkpoint: What `read_checkpoint` returned.
        source: Its path, for messages.
        cfg: A config with `model`; by default the one that the checkpoint carries.
        weights: `'ema'` for the moving average, `'raw'` for the weights as trained; by default the average where the
            checkpoint has one.

    Raises:
        UserError: The checkpoint has no such weights, or those of another model.
    """
    if cfg is None:
        text = checkpoint.get('meta', {}).get('config')
        if not text:
            raise UserError(f'{source} carries no config; export it with the version that wrote it.')
        cfg = Config.fromstring(text, file_format='.py')
    average = checkpoint.get('ema_state_dict')
    if weights == 'ema' and average is None:
        raise UserError(f'{source} has no moving average; use --weights raw.')
    chosen = checkpoint['state_dict'] if weights == 'raw' or average is None else average
    task = inference_task(cfg)
    if checkpoint.get('folded'):
        fold_for_training(task.tokenizer)
    own = task.parts()
    load_weights(task, {key: value for key, value in chosen.items() if key.split('.')[0] in own}, str(source))
    task.weights_note = '' if average is None else f' ({"raw weights" if chosen is not average else "moving average"})'
    return task


def evaluation_task(cfg: Any, path: str, weights: Literal['ema', 'raw'] | None = None) -> Any:
    """The task of an `iter_N.pth` or of a saved tokenizer's folder, in eval mode on the config's device."""
    device = choose_device(cfg.get('device', 'auto'))
    if Path(path).is_dir():
        task = inference_task(cfg)
        task.tokenizer = from_pretrained(path)
    else:
        task = load_task(read_checkpoint(path), path, cfg, weights)
    return task.to(device).eval()


def evaluate_checkpoint(
    cfg: Any, path: str, weights: Literal['ema', 'raw'] | None = None
) -> tuple[dict[str, MetricValue], str]:
    """The config's metrics over its evaluation set, for an `iter_N.pth` or a saved tokenizer's folder.

    Returns:
        The values, and what the weights are called in their stamps.
    """
    task = evaluation_task(cfg, path, weights)
    runner = SimpleNamespace(
        task=task,
        seed=cfg.randomness.get('seed') or 0,
        logger=logging.getLogger('fvq'),
        call_hook=lambda stage, **arguments: None,
    )
    results = EvaluationLoop(runner, cfg.val_dataloader, cfg.val_evaluator).run()
    return results, f'{path}{task.weights_note}'
