"""Stacks of codes as tokens: of whole positions for one transformer, of depth after depth for another (RQ-Transformer)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvq_core.errors import UserError, nearest_hint

from .linear import Linear

INPUTS = ('codebook', 'table')


class StackEmbedding(nn.Module):
    """The embedding of codes, without their places. Methods take the tokenizer's codebooks, (K, code_dim) of each depth.

    Args:
        sizes: Codes K of each depth.
        code_dim: Channels of the tokenizer's codes.
        dim: Channels D.
        body_input, head_input: By a linear map of the codes' vectors, `'codebook'`, or by vectors of their own, `'table'`.
        shared_table: One table for all depths, or one for each.
        cumulative: The head sees sums of the codes so far, or only the last; with `head_input='codebook'`.

    Raises:
        UserError: Unknown inputs, or one table for depths of several sizes.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        code_dim: int,
        dim: int,
        body_input: Literal['codebook', 'table'],
        head_input: Literal['codebook', 'table'],
        shared_table: bool,
        cumulative: bool,
    ) -> None:
        super().__init__()
        for name, value in dict(body_input=body_input, head_input=head_input).items():
            if value not in INPUTS:
                raise UserError(f"RQTransformer: unknown {name} '{value}'; {nearest_hint(value, INPUTS)}")
        own = 'table' in (body_input, head_input)
        if own and shared_table and len(set(sizes)) > 1:
            raise UserError(
                f'RQTransformer: depths with {list(sizes)} codes cannot share a table; set shared_table=False.'
            )
        self.depths, self.code_dim, self.cumulative = len(sizes), code_dim, cumulative
        self.body_map = Linear(code_dim, dim) if body_input == 'codebook' else None
        self.head_map = Linear(code_dim, dim) if head_input == 'codebook' else None
        self.tables = nn.ModuleList(nn.Embedding(size, dim) for size in (sizes[:1] if shared_table else sizes) if own)
        if not shared_table:
            for weight in self._weights():
                nn.init.normal_(weight, std=0.02)

    @property
    def needs_codebooks(self) -> bool:
        """Whether anything is a map of the codes' vectors."""
        return self.body_map is not None or self.head_map is not None

    def positions(self, indices_BNd: Tensor, codebooks: Sequence[Tensor]) -> Tensor:
        """Tokens of whole positions, the sums over their depths: (B, N, D)."""
        if self.body_map is None:
            return self._own(indices_BNd).sum(-2)
        return self.body_map(look_up(codebooks, indices_BNd)).sum(-2)

    def depth_tokens(self, indices_BNd: Tensor, codebooks: Sequence[Tensor]) -> Tensor:
        """Tokens of the first depths of positions, (B, N, depths, D)."""
        if self.head_map is None:
            return self._own(indices_BNd)
        vectors = look_up(codebooks, indices_BNd)
        return self.head_map(vectors.cumsum(-2) if self.cumulative else vectors)

    def _own(self, indices_BNd: Tensor) -> Tensor:
        tables = self._weights()
        return look_up(tables * self.depths if len(tables) == 1 else tables, indices_BNd)

    def _weights(self) -> list[Tensor]:
        return [cast(nn.Embedding, table).weight for table in self.tables]


def look_up(tables: Sequence[Tensor], indices_BNd: Tensor) -> Tensor:
    """Rows of the table of each depth, (B, N, depths, C)."""
    return torch.stack([F.embedding(indices_BNd[..., d], tables[d]) for d in range(indices_BNd.shape[-1])], dim=-2)
