"""What a generator is given: targets to learn, and conditions to draw images of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fvq_core.codes import CodeLayout, Codes, LatentLayout, Latents, Targets
from fvq_core.errors import UserError
from fvq_core.generator import Generator
from fvq_core.ops.finite import can_sync

from .codes_store.layouts import any_layout_from_dict
from .sampling import check_seeds, new_seeds


def layout_of(generator: Generator, layout: CodeLayout | LatentLayout | Mapping[str, Any]) -> CodeLayout:
    """The layout of codes that a generator is made for, given itself or described.

    Raises:
        UserError: One that the generator cannot model.
    """
    if isinstance(layout, Mapping):
        layout = any_layout_from_dict(dict(layout))
    if isinstance(layout, LatentLayout):
        takes = ' or '.join(kind.__name__ for kind in generator.position_kinds)
        raise UserError(
            f'{type(generator).__name__} takes codes, of a {takes}, got {layout}; use a tokenizer of codes.'
        )
    generator.check_layout(layout)
    return layout


def latents_of(generator: Generator, layout: CodeLayout | LatentLayout | Mapping[str, Any]) -> LatentLayout:
    """The layout of latents that a generator is made for, given itself or described.

    Raises:
        UserError: One of codes, or one that the generator cannot model.
    """
    if isinstance(layout, Mapping):
        layout = any_layout_from_dict(dict(layout))
    if not isinstance(layout, LatentLayout):
        raise UserError(
            f'{type(generator).__name__}: models continuous latents, got a layout of codes, {layout}; name channels beside '
            "the positions, as in dict(type='Grid', height=32, width=32, channels=4, scale=0.18215)."
        )
    generator.check_layout(layout)
    return layout


def check_rates(owner: str, **rates: float) -> None:
    """Raise unless each is a share that leaves something, in [0, 1)."""
    for name, rate in rates.items():
        if not 0.0 <= rate < 1.0:
            raise UserError(f'{owner}: {name} must lie in [0, 1), got {rate}.')


def codes_to_learn(generator: Generator, targets: Targets, cond: Tensor) -> Codes:
    """The codes of targets.

    Raises:
        UserError: No codes, codes of another layout, or conditions that are not one an image; on a CPU also codes and
            conditions out of range.
    """
    name = type(generator).__name__
    if not isinstance(targets, Targets) or targets.codes is None:
        raise UserError(f'{name}: a loss wants Targets with codes, got none; write Targets(codes).')
    codes = targets.codes
    generator.check_layout(codes.layout)
    if codes.layout != generator.layout:
        raise UserError(
            f'{name}: the codes are {codes.layout}, this model has learned {generator.layout}; '
            'train one for these codes, or use the tokenizer that it was made for.'
        )
    if len(cond) != len(codes):
        raise UserError(f'{name}: {len(cond)} conditions for the codes of {len(codes)} images; give one each.')
    if can_sync(codes.indices_BL, wait=False):
        codes.layout.check(codes.indices_BL)
    if can_sync(cond, wait=False):
        generator.check_condition(cond)
    return codes


def latents_to_learn(generator: Generator, targets: Targets, cond: Tensor) -> Latents:
    """The latents of targets.

    Raises:
        UserError: No latents, latents of another layout, or conditions that are not one an image; on a CPU also conditions
            out of range.
    """
    name = type(generator).__name__
    if not isinstance(targets, Targets) or targets.latents is None:
        got = 'codes' if isinstance(targets, Targets) and targets.codes is not None else 'none'
        raise UserError(f'{name}: learns continuous latents, got {got}; extract them with a continuous autoencoder.')
    latents = targets.latents
    assert isinstance(generator.layout, LatentLayout)
    if latents.layout != generator.layout:
        raise UserError(
            f'{name}: the latents are {latents.layout}, this model is made for {generator.layout}; '
            'train one for these latents, or use the autoencoder that it was made for.'
        )
    if len(cond) != len(latents):
        raise UserError(f'{name}: {len(cond)} conditions for the latents of {len(latents)} images; give one each.')
    if can_sync(cond, wait=False):
        generator.check_condition(cond)
    return latents


def images_to_draw(
    generator: Generator,
    cond: Any,
    rng: torch.Generator | None,
    seeds: Sequence[int] | None,
    cfg_scale: float = 1.0,
    drop_rate: float = 0.0,
    given: Any = None,
    keep_BL: Tensor | None = None,
) -> tuple[Tensor, list[int]]:
    """What `Generator.sample` was asked for: conditions on the generator's device, classes as int64, and a seed for each.

    Args:
        generator: Draws images of them.
        cond: Classes (B,), or caption features (B, T, C).
        rng, seeds: See `Generator.sample`.
        cfg_scale: Scale of guidance; 1 is none.
        drop_rate: Share of the conditions that its training drops.
        given, keep_BL: See `Generator.check_given`.

    Raises:
        UserError: Conditions that the model does not have, guidance of a model that was trained without dropping them, or
            seeds or given codes that do not fit.
    """
    name = type(generator).__name__
    if not isinstance(cond, Tensor):
        raise UserError(f'{name}: conditions are a tensor, got {type(cond).__name__}; use torch.as_tensor.')
    cond = cond.to(next(generator.parameters()).device)
    generator.check_condition(cond)
    if cfg_scale > 1.0 and not drop_rate:
        raise UserError(
            f'{name}: cfg_scale {cfg_scale} needs a model that was trained with cond_dropout; this one has 0, and does not '
            'know images without a condition. Use cfg_scale=1.'
        )
    generator.check_given(given, keep_BL, len(cond))
    seeds = new_seeds(len(cond), rng) if seeds is None else check_seeds(seeds, len(cond))
    return cond if cond.is_floating_point() else cond.long(), seeds
