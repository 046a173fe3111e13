"""Checks of a config: types of its entries, and arguments that constructors take."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from mmengine.config import Config

from ..errors import UserError, nearest_hint
from ..registry import constructor_arguments, find_component
from ..registry.argument_types import check, check_types
from .schema import RANDOMNESS, TOP_LEVEL, builder_keys
from .walk import components


def check_top_level(cfg: Config) -> None:
    """Raise if a top-level entry has the wrong type."""
    for key, hint in TOP_LEVEL.items():
        if key in cfg:
            check(cfg[key], hint, key)
    check((cfg.get('visualizer') or {}).get('vis_backends'), Sequence[Mapping] | None, 'visualizer.vis_backends')
    level, levels = cfg.get('log_level', 'INFO'), logging.getLevelNamesMapping()
    if level not in levels and not (isinstance(level, int) and level >= 0):
        raise UserError(f"log_level: '{level}' is not a level; {nearest_hint(str(level), levels)}")
    randomness = cfg.get('randomness', {})
    for key, hint in RANDOMNESS.items():
        check(randomness.get(key), hint, f'randomness.{key}')
    if not 0 <= (randomness.get('seed') or 0) < 2**32:
        raise UserError(f'randomness.seed: expected 0 to 2**32 - 1, got {randomness.seed}.')
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
