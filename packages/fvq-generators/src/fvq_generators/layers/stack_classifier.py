"""Logits of stacks of codes, and their loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from fvq_core.errors import UserError

from ..cross_entropy import chunked_cross_entropy, soft_cross_entropy
from .linear import Linear


class StackClassifier(nn.Module):
    """A norm, then one linear map for all depths or one for each.

    Args:
        sizes: Codes of each depth.
        dim: Channels D.
        shared: Whether one map serves all depths.

    Raises:
        UserError: One map for depths of several sizes.
    """

    def __init__(self, sizes: Sequence[int], dim: int, shared: bool) -> None:
        super().__init__()
        if shared and len(set(sizes)) > 1:
            raise UserError(
                f'RQTransformer: depths with {list(sizes)} codes cannot share a classifier; set shared_classifier=False.'
            )
        self.depths = len(sizes)
        self.norm = nn.LayerNorm(dim)
        self.maps = nn.ModuleList(Linear(dim, size) for size in (sizes[:1] if shared else sizes))
        for each in () if shared else self.maps:  # as released; a shared one starts as torch does
            nn.init.normal_(cast(nn.Linear, each).weight, std=0.02)
            nn.init.zeros_(cast(nn.Linear, each).bias)

    def at(self, depth: int) -> nn.Linear:
        """The map of a depth."""
        return cast(nn.Linear, self.maps[depth if len(self.maps) > 1 else 0])

    def forward(self, x: Tensor, depth: int) -> Tensor:
        """float32 logits (..., K) of features of one depth (..., D)."""
        return self.at(depth)(self.norm(x)).float()

    def loss(
        self, x_BNdD: Tensor, indices_BNd: Tensor, soft_BNdV: Tensor | None = None, rows: int | None = None
    ) -> Tensor:
        """The mean cross-entropy of codes, or of distributions over them, in nats.

        Args:
            x_BNdD: Features of every depth at every position.
            indices_BNd: The codes.
            soft_BNdV: Distributions in place of the codes, V the largest vocabulary.
            rows: Rows of logits at once.
        """
        x_BNdD, terms = self.norm(x_BNdD), []
        parts = [slice(None)] if len(self.maps) == 1 else [slice(depth, depth + 1) for depth in range(self.depths)]
        for part, each in zip(parts, cast(Sequence[nn.Linear], self.maps), strict=True):
            x_ND = x_BNdD[:, :, part].flatten(0, 2)
            if soft_BNdV is None:
                indices_N = indices_BNd[..., part].flatten()
                terms.append(chunked_cross_entropy(x_ND, each.weight, indices_N, rows=rows, bias_V=each.bias))
            else:
                soft_NK = soft_BNdV[:, :, part, : each.out_features].flatten(0, 2)
                terms.append(soft_cross_entropy(x_ND, each, soft_NK, rows))
        return torch.stack(terms).mean()
