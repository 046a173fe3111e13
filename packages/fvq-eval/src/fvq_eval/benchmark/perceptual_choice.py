"""Which perceptual network scores a benchmark: only trained weights count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from fvq_core.errors import UserError
from fvq_core.losses.perceptual.weights import BACKBONES
from fvq_core.registry import METRICS

AUTO, NONE = 'auto', 'none'
CHOICES = (AUTO, NONE, *BACKBONES)
PREFERRED = ('alex', 'vgg', 'squeeze')


def perceptual_metrics(choice: str, weights: str | None) -> list[dict[str, Any]]:
    """The config of the perceptual metric, in a list; empty for none.

    Args:
        choice: A network; `auto` for one whose published weights are on this machine already, if there is one; `none`.
        weights: A file of trained weights for the network that `choice` names.
    """
    if weights is not None and choice not in BACKBONES:
        raise UserError(f'benchmark: --perceptual-weights needs --perceptual {"|".join(BACKBONES)}.')
    if choice == NONE:
        return []
    if choice == AUTO:
        cached = Path(torch.hub.get_dir(), 'checkpoints')
        choice = next((net for net in PREFERRED if (cached / BACKBONES[net]).is_file()), NONE)
        return [] if choice == NONE else [dict(type='PerceptualDistance', net=choice)]
    metric = dict(type='PerceptualDistance', net=choice)
    if weights is not None:
        metric['weights'] = str(Path(weights).expanduser().resolve())
    METRICS.build(metric)  # raises now, not in every run
    return [metric]
