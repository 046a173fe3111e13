"""Models from checkpoints, without what only training needs."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any, Literal

from ..config.data import build_data, read_config_data
from ..config.walk import components
from ..registry import MODELS, find_component
from ..saving.weights import build_skeleton, check_fit, load_weights
from .checkpoint import choose_weights


def inference_task(model: Any, folded: bool = False) -> Any:
    """The task of a config's `model` without what only training needs: perceptual network, discriminator, initial values.

    With `folded`, it is that of weights that were folded during training.
    """
    model = copy.deepcopy(model)
    for name in getattr(find_component(model['type']), 'training_only', ()):
        model.pop(name, None)
    for _, node in list(components(model)):
        saved_as = getattr(find_component(node['type']), 'component_config', None)
        if saved_as is not None:
            node.clear()
            node.update(saved_as)
    task = MODELS.build(model)
    if folded:
        task.tokenizer.quantizer = task.tokenizer.quantizer.fold().train()
    return task


def load_task(
    checkpoint: dict[str, Any], source: str, cfg: Any = None, weights: Literal['ema', 'raw'] | None = None
) -> Any:
    """The task of a checkpoint with its weights, on the CPU, without what only training needs.

    Args:
        checkpoint, source: What `read_checkpoint` returned, and its path for messages.
        cfg: A config with `model` that the user named; by default the data that the checkpoint carries, from which only
            registered names are built.
        weights: See `choose_weights`.
    """
    chosen, note = choose_weights(checkpoint, source, weights, 'use --weights raw')
    build = partial(inference_task, folded=bool(checkpoint.get('folded')))
    if cfg is None:
        model = checkpoint_config(checkpoint, source).get('model')
        skeleton = build_skeleton(build, model, len(chosen), source)
        check_fit(skeleton, task_weights(skeleton, chosen), source)
        task = build_data(build, model, source)
    else:
        task = build(cfg.model)
    load_weights(task, task_weights(task, chosen), source)
    task.weights_note = note
    return task


def task_weights(task: Any, weights: dict[str, Any]) -> dict[str, Any]:
    """The weights in a checkpoint that belong to the parts of a task."""
    parts = task.parts()
    return {key: value for key, value in weights.items() if key.split('.')[0] in parts}


def checkpoint_config(checkpoint: dict[str, Any], source: str) -> Any:
    """The config that a checkpoint carries, as data; raises if it carries none, or one of an earlier version."""
    remedy = f'name its config, as in tools/export.py {source} OUT --config CONFIG, or train again with tools/train.py'
    return read_config_data((checkpoint.get('meta') or {}).get('config'), source, remedy)
