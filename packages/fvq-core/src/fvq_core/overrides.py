"""In what a run's resolved config differs from the config file that it was started with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .benchmark.fairness import ABSENT, leaves
from .registry import plain

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
WATCHERS = ('training_log', 'progress', 'checkpoint', 'report', 'probe', 'latent_error', 'per_image')


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
