"""Logits and filters to draw with."""

from __future__ import annotations

import torch
from torch import Tensor

# temperature, top-k, top-p
FILTERS = [(1.0, 0, 1.0), (0.7, 0, 1.0), (1.0, 7, 1.0), (1.0, 0, 0.9), (1.3, 50, 0.6), (1.0, 3, 0.2)]


def logits_with_ties(V: int) -> Tensor:
    """(8, V), in bfloat16's steps: whole numbers, tokens that cannot be drawn, all equal with both zeros, a wide range."""
    logits = torch.randn(8, V, generator=torch.Generator().manual_seed(0)) * 3
    logits[2] = logits[2].round()
    logits[3, ::2] = -torch.inf
    logits[4] = 0.0
    logits[4, 1] = -0.0
    logits[5] *= 20
    logits[6, 1:] = -torch.inf
    return logits.bfloat16().float()
