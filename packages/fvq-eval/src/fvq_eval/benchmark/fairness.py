"""Whether rows differ in their quantizer and nothing else that a comparison must hold fixed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mmengine.config import Config

from fvq_core.config.difference import ABSENT, differing
from fvq_core.config.walk import leaves
from fvq_core.errors import UserError
from fvq_core.registry import plain

from .rows import Row, trainable

# What must agree between rows; the quantizer may differ.
MUST_AGREE = (
    'model.type',
    'model.tokenizer.type',
    'model.tokenizer.encoder',
    'model.tokenizer.decoder',
    'model.tokenizer.quant_kernel',
    'model.reconstruction_loss',
    'model.perceptual_loss',
    'model.adversarial',
    'train_dataloader',
    'val_dataloader',
    'train_cfg',
    'optim_wrapper',
    'auto_scale_lr',
    'param_scheduler',
    'default_hooks.ema',
    'default_hooks.fold',
)
# Part of a method, so that rows may differ in it, and the report lists which do: rates of parameter groups, annealing (which
# is the shape of the decay), and when the bridge is folded.
PART_OF_THE_METHOD = re.compile(
    r'(optim_wrapper\.paramwise_cfg|param_scheduler(\.\d+)?\.decay|default_hooks\.fold)(\..+)?'
)


def check_fairness(rows: Sequence[Row]) -> None:
    """Raise if rows differ in more than their method."""
    trained = trainable(rows)
    for row, cfg in trained[1:]:
        pairs = differing(fixed_entries(trained[0][1]), fixed_entries(cfg))
        different = [f'{key} ({first} and {other})' for key, (first, other) in pairs.items()]
        if different:
            raise UserError(
                f'benchmark: {trained[0][0].name} and {row.name} differ in more than the quantizer: {", ".join(different)}; '
                'make them equal, or pass --allow-differences and report it with the numbers.'
            )


def exemptions(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Names of rows, with their exempt settings that differ from most rows'."""
    return unusual(rows, exempt_entries)


def differences(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """The same for settings that must agree, unless --allow-differences was passed."""
    return unusual(rows, fixed_entries)


def unusual(rows: Sequence[Row], entries_of: Callable[[Config], dict[str, Any]]) -> list[tuple[str, str]]:
    """Each row's settings that differ from what most rows have; in a draw the first row's counts."""
    trained = {row.name: entries_of(cfg) for row, cfg in trainable(rows)}
    usual = {}
    for key in sorted(set().union(*trained.values())):
        values = [entries.get(key, ABSENT) for entries in trained.values()]
        usual[key] = max(values, key=values.count)
    return [
        (name, f'{key} = {entries.get(key, ABSENT)} (most rows: {value})')
        for name, entries in trained.items()
        for key, value in usual.items()
        if entries.get(key, ABSENT) != value
    ]


def fixed_entries(cfg: Config) -> dict[str, Any]:
    """The entries that must agree, by dotted path; one that is None counts as left out."""
    return {key: value for key, value in compared_entries(cfg).items() if not PART_OF_THE_METHOD.fullmatch(key)}


def exempt_entries(cfg: Config) -> dict[str, Any]:
    """The entries that may differ, by dotted path."""
    return {key: value for key, value in compared_entries(cfg).items() if PART_OF_THE_METHOD.fullmatch(key)}


def compared_entries(cfg: Config) -> dict[str, Any]:
    """Everything below `MUST_AGREE` that is not None."""
    entries: dict[str, Any] = {}
    for path in MUST_AGREE:
        node: Any = cfg._cfg_dict
        for part in path.split('.'):
            node = node.get(part) if isinstance(node, Mapping) else None
        entries.update(leaves(plain(node), path))
    return {key: value for key, value in entries.items() if value is not None}
