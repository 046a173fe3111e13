"""Any config at a tiny size on the CPU, and what two runs of it must agree in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.config import Config

from fvq_core.config.walk import components
from fvq_core.registry import find_component
from fvq_core.training.hooks.history import History
from fvq_core.training.hooks.training_log_hook import SPEED_KEYS

ITERS, RESUME_AT, BATCH = 4, 2, 4


def shrink_config(cfg: Config) -> Config:
    """Make a config small: a component with a static `smoke(cfg)` returns the arguments to change.

    With `_replace_=True` they replace the whole dict, including its type. A data set with a static `fit_model(model)` then
    returns the arguments that make it fit the small model.
    """
    for _, node in list(components(cfg._cfg_dict)):
        kind = find_component(node['type'])
        if (
            cfg.get('load_from') and getattr(kind, 'needs_init', None) is True
        ):  # weights that are loaded want no latents
            node.clear()
            node.update(type='UniformInit')
            continue
        smoke = getattr(kind, 'smoke', None)
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


def logged(path: Path) -> list[dict[str, Any]]:
    """History rows without timings."""
    return [{key: value for key, value in row.items() if key not in SPEED_KEYS} for row in History(path).rows()]
