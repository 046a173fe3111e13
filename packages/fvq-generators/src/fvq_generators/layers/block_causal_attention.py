"""Attention over scales: each position sees its own scale and those before it (VAR)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fvq_core.ops.kernels import Kernel

FLEX = Kernel('block_causal_attention')


def block_causal_attention(
    q_BHLD: Tensor, k_BHLD: Tensor, v_BHLD: Tensor, lengths: Sequence[int], scale: float | None = None
) -> Tensor:
    """Attention of whole sequences, (B, heads, L, head_dim), without a mask of L x L numbers.

    A call for each scale reads only the keys up to its end, in whatever attention kernel there is; on a GPU with
    `FVQ_KERNELS=all` it is one call of FlexAttention, which leaves out the blocks that nothing may see.

    Args:
        q_BHLD, k_BHLD, v_BHLD: Queries, keys and values.
        lengths: Positions of each scale, coarse to fine; their sum is L.
        scale: Of the products; head_dim^-1/2 by default.
    """
    one_call = q_BHLD.is_cuda and FLEX.enabled(q_BHLD.device)
    arguments = (q_BHLD, k_BHLD, v_BHLD, tuple(lengths), scale)
    return FLEX.run(lambda: flex(*arguments), lambda: by_scale(*arguments)) if one_call else by_scale(*arguments)


def by_scale(q_BHLD: Tensor, k_BHLD: Tensor, v_BHLD: Tensor, lengths: tuple[int, ...], scale: float | None) -> Tensor:
    """The same in a call for each scale."""
    parts = zip(q_BHLD.split(lengths, 2), accumulate(lengths), strict=True)
    return torch.cat(
        [F.scaled_dot_product_attention(q, k_BHLD[:, :, :end], v_BHLD[:, :, :end], scale=scale) for q, end in parts], 2
    )


def flex(q_BHLD: Tensor, k_BHLD: Tensor, v_BHLD: Tensor, lengths: tuple[int, ...], scale: float | None) -> Tensor:
    """The same in one call of FlexAttention."""
    mask = block_mask(lengths, q_BHLD.device.type, q_BHLD.device.index)
    return flex_attention(q_BHLD.is_cuda)(q_BHLD, k_BHLD, v_BHLD, block_mask=mask, scale=scale)


@cache
def flex_attention(compiled: bool) -> Any:
    """FlexAttention; compiled it is a kernel, otherwise the plain formulation with all products."""
    from torch.nn.attention.flex_attention import flex_attention  # imports the compiler

    return torch.compile(flex_attention, dynamic=False) if compiled else flex_attention


@cache
def block_mask(lengths: tuple[int, ...], device_type: str, index: int | None) -> Any:
    """Which blocks of 128 x 128 products are needed, and which of them in part."""
    from torch.nn.attention.flex_attention import create_block_mask

    device = torch.device(device_type, index) if index is not None else torch.device(device_type)
    scales = torch.arange(len(lengths), device=device)
    scale_of_L = scales.repeat_interleave(torch.tensor(lengths, device=device))

    def visible(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return scale_of_L[query] >= scale_of_L[key]

    L = sum(lengths)
    return create_block_mask(visible, None, None, L, L, device=device)
