"""What the levels of every convolutional encoder and decoder share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ...errors import UserError
from .resnet_block import ResnetBlock


def blocks_per_level(num_res_blocks: int | Sequence[int], ch_mult: Sequence[int]) -> list[int]:
    """The number of residual blocks of each level, finest first; raises unless there is one for each."""
    counts = [num_res_blocks] * len(ch_mult) if isinstance(num_res_blocks, int) else list(num_res_blocks)
    if len(counts) != len(ch_mult) or min(counts) < 0:
        raise UserError(f'num_res_blocks {num_res_blocks} does not give each of the {len(ch_mult)} levels a count.')
    return counts


def run_block(block: nn.Module, h: Tensor, checkpointing: bool, *others: Tensor) -> Tensor:
    """`block(h, *others)`; with checkpointing, the backward pass computes it again instead of keeping its activations."""
    if checkpointing and torch.is_grad_enabled():
        return cast(Tensor, checkpoint(block, h, *others, use_reentrant=False))
    return block(h, *others)


def residual_levels(
    channels: int,
    widths: Sequence[int],
    counts: Sequence[int],
    block: Callable[[int, int], nn.Module],
    resample: Callable[[int], nn.Module],
) -> tuple[nn.ModuleList, int]:
    """Levels of residual blocks with a resampling layer between them, and the channels of the last.

    Args:
        channels: Of the input.
        widths: Channels of each level, in the order they run.
        counts: Blocks of each level; one without any keeps its input's channels.
        block: From channels before and behind to a block.
        resample: From channels to a layer.
    """
    levels = nn.ModuleList()
    for index, (width, count) in enumerate(zip(widths, counts, strict=True)):
        level = residual_blocks(channels, width, count, block)
        channels = width if count else channels
        if index < len(widths) - 1:
            level.append(resample(channels))
        levels.append(level)
    return levels, channels


def residual_blocks(
    in_channels: int, out_channels: int, count: int, block: Callable[[int, int], nn.Module]
) -> nn.ModuleList:
    """`count` blocks; the first changes the channels."""
    return nn.ModuleList(block(*pair) for pair in pairwise([in_channels, *[out_channels] * count]))


def run_blocks(blocks: nn.Module, h: Tensor, checkpointing: bool) -> Tensor:
    """Blocks in turn; with checkpointing, only the residual ones are computed again."""
    for block in blocks.children():
        h = run_block(block, h, checkpointing and isinstance(block, ResnetBlock))
    return h
