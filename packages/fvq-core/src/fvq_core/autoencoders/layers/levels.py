"""What the levels of every convolutional encoder and decoder share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ...errors import UserError


def blocks_per_level(num_res_blocks: int | Sequence[int], ch_mult: Sequence[int]) -> list[int]:
    """The number of residual blocks of each level, finest first; raises unless there is one for each."""
    counts = [num_res_blocks] * len(ch_mult) if isinstance(num_res_blocks, int) else list(num_res_blocks)
    if len(counts) != len(ch_mult) or min(counts) < 0:
        raise UserError(f'num_res_blocks {num_res_blocks} does not give each of the {len(ch_mult)} levels a count.')
    return counts


def run_block(block: nn.Module, h: Tensor, checkpointing: bool) -> Tensor:
    """`block(h)`; with checkpointing, the backward pass computes it again instead of keeping its activations."""
    if checkpointing and torch.is_grad_enabled():
        return cast(Tensor, checkpoint(block, h, use_reentrant=False))
    return block(h)
