"""Checks of a config: types of its entries, and arguments that constructors take."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

from ..errors import UserError, nearest_hint
from ..registry import constructor_arguments, find_component
from ..registry.argument_types import check, check_types
from .schema import NESTED, TOP_LEVEL, builder_keys
from .walk import components


def check_top_level(cfg: Config) -> None:
    """Raise if a top-level entry has the wrong type."""
    for key, hint in TOP_LEVEL.items():
        if key in cfg:
            check(cfg[key], hint, key)
    for name, hints in NESTED.items():
        for key, value in (cfg.get(name) or {}).items():
            check(value, hints.get(key, Any), f'{name}.{key}')
    level, levels = cfg.get('log_level', 'INFO'), logging.getLevelNamesMapping()
    if level not in levels and not (isinstance(level, int) and level >= 0):
        raise UserError(f"log_level: '{level}' is not a level; {nearest_hint(str(level), levels)}")
    seed = cfg.get('randomness', {}).get('seed') or 0
    if not 0 <= seed < 2**32:
        raise UserError(f'randomness.seed: expected 0 to 2**32 - 1, got {seed}.')
    scaling = cfg.get('auto_scale_lr') or {}
    if scaling.get('enable') and scaling.get('base_batch_size', 0) < 1:
        raise UserError(f'auto_scale_lr: expected base_batch_size, 1 or more, got {dict(scaling)}; set it.')
    for name, hook in (cfg.get('default_hooks') or {}).items():
        check(hook, Mapping | None, f'default_hooks.{name}')


def check_arguments(cfg: Config) -> None:
    """Raise if a component is given an argument that its constructor does not take, or one of the wrong type."""
    for path, node in components(cfg._cfg_dict):
        check(node['type'], str | type, f'{path}.type')
        component = find_component(node['type'])
        accepted = None if component is None else constructor_arguments(component)
        if accepted is None:
            continue
        check_types(component, node, path)
        for key in node:
            if key not in accepted and key not in builder_keys(component):
                name = getattr(component, '__name__', component)
                raise UserError(f"{path}: {name} has no argument '{key}'; {nearest_hint(key, accepted)}")
