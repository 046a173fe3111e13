"""Whether rows differ in their quantizer and nothing else that a comparison must hold fixed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import Config

from fvq_core.config.difference import ABSENT, differing
from fvq_core.config.walk import leaves
from fvq_core.errors import UserError
from fvq_core.registry import plain

from .rows import Row, trainable

# What must agree between rows; the quantizer may differ.
MUST_AGREE = (
    'load_from',
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

LENGTH = 'train_cfg.max_iters'


def check_fairness(rows: Sequence[Row]) -> None:
    """Raise if rows differ in more than their method."""
    trained = trainable(rows)
    for row, cfg in trained[1:]:
        pairs = differing(*(compared_entries(*each, exempt=False) for each in (trained[0], (row, cfg))))
        different = [f'{key} ({first} and {other})' for key, (first, other) in pairs.items()]
        if different:
            raise UserError(
                f'benchmark: {trained[0][0].name} and {row.name} differ in more than the quantizer: {", ".join(different)}; '
                'make them equal, or pass --allow-differences and report it with the numbers.'
            )


def unusual(rows: Sequence[Row], exempt: bool) -> list[tuple[str, str]]:
    """Names of rows, with their settings that differ from what most rows have; in a draw the first row's counts.

    Args:
        rows: All of them.
        exempt: Settings in which rows may differ, else those that must agree unless --allow-differences was passed.
    """
    trained = {row.name: compared_entries(row, cfg, exempt) for row, cfg in trainable(rows)}
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


def compared_entries(row: Row, cfg: Config, exempt: bool) -> dict[str, Any]:
    """The entries that may differ, or those that must agree, by dotted path; one that is None counts as left out.

    The length is not among them if it is part of the row's name.
    """
    entries: dict[str, Any] = {}
    for path in MUST_AGREE:
        node: Any = cfg._cfg_dict
        for part in path.split('.'):
            node = node.get(part) if isinstance(node, Mapping) else None
        entries.update(leaves(plain(node), path))
    wanted = {key for key in entries if bool(PART_OF_THE_METHOD.fullmatch(key)) == exempt}
    wanted -= {LENGTH} if row.steps else set()
    return {key: value for key, value in entries.items() if value is not None and key in wanted}
