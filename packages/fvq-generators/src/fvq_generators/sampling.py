"""Drawing tokens from logits: the filters that every sampler shares."""

from __future__ import annotations

import torch
from torch import Tensor

from fvq_core.errors import UserError


def filter_logits(logits_BV: Tensor, top_k: int = 0, top_p: float = 1.0) -> Tensor:
    """Set to -inf what top-k and then top-p (nucleus) sampling leave out.

    Args:
        logits_BV: Logits (B, V), any float dtype; not changed.
        top_k: Keep the k largest, and all that equal the k-th; 0 keeps every token.
        top_p: Of what top-k kept, keep the smallest set of likeliest tokens whose probability exceeds `top_p`; 1 keeps
            every token. The likeliest token is always kept.

    Raises:
        UserError: `top_k` below 0 or `top_p` outside (0, 1].
    """
    if top_k < 0 or not 0.0 < top_p <= 1.0:
        raise UserError(f'filter_logits: need top_k >= 0 and 0 < top_p <= 1, got {top_k} and {top_p}.')
    if 0 < top_k < logits_BV.shape[-1]:
        kth = logits_BV.topk(top_k, dim=-1).values[..., -1:]
        logits_BV = logits_BV.masked_fill(logits_BV < kth, -torch.inf)
    if top_p < 1.0:
        ordered, order = logits_BV.sort(descending=True, dim=-1)
        p = ordered.softmax(-1)
        before = p.cumsum(-1) - p  # probability of all likelier tokens
        drop = torch.zeros_like(order, dtype=torch.bool).scatter(-1, order, before > top_p)
        logits_BV = logits_BV.masked_fill(drop, -torch.inf)
    return logits_BV
