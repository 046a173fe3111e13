"""Codes as vectors and back: one table, or one for each factor of a large vocabulary."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fvq_core.errors import UserError
from fvq_core.registry.argument_types import check_sizes

from ..layers import split_code


class CodeEmbedding(nn.Module):
    """The vectors of codes, and of the mask.

    A code of a factorised vocabulary has a part for each factor, see `layers.split_code`: 262,144 = 64 x 4,096 has two, the
    groups of bits of Open-MAGVIT2. Its vector is the sum of its parts', and its probability the product of theirs, so that
    4,160 rows and logits stand for 262,144.

    Args:
        vocab_size: Codes V; the number V stands for the mask.
        dim: Channels D.
        factors: Sizes whose product is V, that of the least significant part first; None for one table of V.

    Attributes:
        table: The rows of the first factor, of the second, ..., and then the mask.

    Raises:
        UserError: Factors whose product is not V.
    """

    def __init__(self, vocab_size: int, dim: int, factors: Sequence[int] | None = None) -> None:
        super().__init__()
        self.factors = (vocab_size,) if factors is None else tuple(factors)
        check_sizes('MaskGIT', factors=self.factors)
        if math.prod(self.factors) != vocab_size:
            product = ' x '.join(map(str, self.factors))
            raise UserError(
                f'MaskGIT: factors multiply to the number of codes, {vocab_size}; got {product} = {math.prod(self.factors)}.'
            )
        self.vocab_size = vocab_size
        self.table = nn.Embedding(sum(self.factors) + 1, dim)

    def forward(self, indices_BL: Tensor) -> Tensor:
        """Codes, or V for the mask, to (B, L, D)."""
        if len(self.factors) == 1:
            return self.table(indices_BL)
        masked_BL = indices_BL == self.vocab_size
        x_BLD, first = torch.zeros((), device=indices_BL.device), 0
        for size, part_BL in zip(
            self.factors, split_code(indices_BL.masked_fill(masked_BL, 0), self.factors), strict=True
        ):
            x_BLD = x_BLD + self.table(part_BL + first)
            first += size
        return torch.where(masked_BL[..., None], self.table.weight[-1], x_BLD)


class CodeHead(nn.Module):
    """Features to logits: of each factor's values side by side.

    Args:
        embedding: That of the codes.
        tied: Its table serves as the matrix, and only the bias is learned here.
        mask_output: One logit more, that of the mask, as Halton-MaskGIT has.

    Raises:
        UserError: `mask_output` of a factorised vocabulary.
    """

    def __init__(self, embedding: CodeEmbedding, tied: bool = False, mask_output: bool = False) -> None:
        super().__init__()
        if mask_output and len(embedding.factors) > 1:
            raise UserError('MaskGIT: mask_output goes with one table of codes; leave out mask_output or factors.')
        self.outputs = sum(embedding.factors) + mask_output
        dim = embedding.table.embedding_dim
        self.weight = None if tied else nn.Parameter(torch.empty(self.outputs, dim))
        self.bias = nn.Parameter(torch.zeros(self.outputs))

    def matrix(self, embedding: CodeEmbedding) -> Tensor:
        """The matrix (outputs, D)."""
        return embedding.table.weight[: self.outputs] if self.weight is None else self.weight

    def forward(self, x: Tensor, embedding: CodeEmbedding) -> Tensor:
        """float32 logits (..., outputs) of features (..., D)."""
        return nn.functional.linear(x, self.matrix(embedding), self.bias).float()
