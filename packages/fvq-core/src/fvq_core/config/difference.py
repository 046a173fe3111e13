"""In what configs of runs differ: from the config file that a run was started with, or from the run that is resumed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..registry import plain
from .data import STARTED_FROM

ABSENT = 'not set'
# What may differ between two runs of one config: the seed, the place, and what watches without taking part.
OF_THE_RUN = (
    'randomness',
    'work_dir',
    'resume',
    'launcher',
    'device',
    'default_scope',
    'log_level',
    'visualizer',
    'paper',
)
# Where a run starts: runs of several seeds may differ in it, and one that is resumed has started.
START = (STARTED_FROM, 'load_weights')
WATCHERS = ('training_log', 'progress', 'checkpoint', 'report', 'probe', 'latent_error', 'per_image')
# What a resumed run may have otherwise and still end bit for bit like one that never stopped: how it is evaluated, and how
# fast data comes.
WITHOUT_EFFECT = re.compile(
    r'val_(cfg|dataloader|evaluator)\b.*|train_cfg\.val_interval|env_cfg\b.*'
    r'|train_dataloader\.(num_workers|pin_memory|prefetch_factor|max_unreadable)'
)


def overrides(run: Mapping[str, Any], file: Mapping[str, Any]) -> list[str]:
    """The settings, by dotted path, that make a run another one than its config file says.

    Args:
        run: The resolved config of a run. Metrics that it adds do not count.
        file: The config file's.
    """
    found, expected = entries(run), entries(file)
    known = expected.pop('val_evaluator', [])
    found['val_evaluator'] = [metric for metric in found.get('val_evaluator', []) if metric in known]
    one, other = leaves(found, ''), leaves({**expected, 'val_evaluator': known}, '')
    return [
        key.removeprefix('.')
        for key in sorted(one.keys() | other.keys())
        if one.get(key, ABSENT) != other.get(key, ABSENT)
    ]


def entries(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config without what is the run's own."""
    kept = plain({key: value for key, value in config.items() if key not in OF_THE_RUN})
    kept['default_hooks'] = {
        name: hook for name, hook in kept.get('default_hooks', {}).items() if name not in WATCHERS and hook is not None
    }
    return kept


def changes(saved: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What of a config keeps a resumed run from ending like one that never stopped.

    Args:
        saved: The config of the checkpoint.
        config: The config of the run that continues it.

    Returns:
        The two values by dotted path; `ABSENT` where one has none.
    """
    sides = [
        leaves(entries({key: value for key, value in each.items() if key not in START}), '') for each in (saved, config)
    ]
    both = ({key.removeprefix('.'): value for key, value in side.items() if value is not None} for side in sides)
    old, new = both
    return {
        key: (old.get(key, ABSENT), new.get(key, ABSENT))
        for key in sorted(old.keys() | new.keys())
        if old.get(key, ABSENT) != new.get(key, ABSENT) and not WITHOUT_EFFECT.fullmatch(key)
    }


def leaves(node: Any, path: str) -> dict[str, Any]:
    """Everything that is neither a dict nor a list, by dotted path."""
    if isinstance(node, Mapping):
        return {key: value for name in node for key, value in leaves(node[name], f'{path}.{name}').items()}
    if isinstance(node, list):
        return {key: value for index, item in enumerate(node) for key, value in leaves(item, f'{path}.{index}').items()}
    return {path: node}
