"""How the configs of runs differ: from the config file that a run was started with, from another seed, or when resumed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import nn

from ..registry import by_name, describe, plain
from .data import STARTED_FROM
from .walk import leaves

ABSENT = 'not set'
NO_MATTER = ('init', 'checkpointing')  # how codes start; memory in training
# Top-level entries that two runs of one experiment may differ in: the seed, where it runs, and what it prints.
RUN_ENTRIES = ('randomness', 'work_dir', 'resume', 'resume_elastic', 'timeout', 'launcher', 'device')
RUN_ENTRIES += ('default_scope', 'log_level', 'visualizer', 'paper')
# Where a run starts from. Runs of several seeds may differ in it, and a resumed run has started.
START_ENTRIES = (STARTED_FROM, 'load_weights', 'load_fresh')
# Hooks that watch a run and do not change it.
OBSERVER_HOOKS = ('training_log', 'progress', 'checkpoint', 'report', 'probe', 'latent_error', 'per_image', 'tracking')
# Settings that a resumed run may change and still end bit for bit like one that never stopped: how it is evaluated, and how
# fast data is loaded.
NO_EFFECT_ON_WEIGHTS = re.compile(
    r'val_(cfg|dataloader|evaluator)\b.*|train_cfg\.val_interval|env_cfg\b.*'
    r'|train_dataloader\.(num_workers|pin_memory|prefetch_factor|max_unreadable|on_device)'
)
# Settings that a resumed run must keep: with another value its checkpoint does not fit, or frozen parts would move.
REQUIRED_TO_RESUME = re.compile(r'model\.(type|freeze\.\d+)|optim_wrapper\.(parts\.\w+\.)?optimizer\.type')


def experiment(config: Mapping[str, Any], start: bool) -> dict[str, Any]:
    """A config in plain values without what two runs of one experiment may differ in.

    With `start`, where the run starts from is part of the experiment.
    """
    left_out = RUN_ENTRIES if start else RUN_ENTRIES + START_ENTRIES
    kept = plain({key: value for key, value in config.items() if key not in left_out})
    hooks = (kept.get('default_hooks') or {}).items()
    kept['default_hooks'] = {name: hook for name, hook in hooks if name not in OBSERVER_HOOKS and hook is not None}
    return kept


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The keys whose values differ, sorted, with both values; `ABSENT` if one of the mappings lacks the key."""
    pairs = {key: (one.get(key, ABSENT), other.get(key, ABSENT)) for key in sorted(one.keys() | other.keys())}
    return {key: (first, second) for key, (first, second) in pairs.items() if first != second}


def changes_on_resume(saved: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What keeps a run with `config` that resumes a checkpoint with `saved` from ending like one that never stopped.

    Both values by dotted path. A setting that is None counts as not set.
    """
    old, new = (
        {key: value for key, value in leaves(experiment(each, start=False)).items() if value is not None}
        for each in (saved, config)
    )
    return {key: pair for key, pair in differing(old, new).items() if not NO_EFFECT_ON_WEIGHTS.fullmatch(key)}


def settings(model: nn.Module) -> dict[str, Any]:
    """All arguments of a model and its parts by dotted path, except those that do not matter once it has weights."""
    return leaves(by_name(describe(model, complete=True), NO_MATTER))
