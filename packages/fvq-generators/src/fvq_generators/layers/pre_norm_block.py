"""The pre-norm transformer block without mask or cache, as in vision transformers."""

from __future__ import annotations

from torch import Tensor, nn

from fvq_core.errors import UserError

from .bidirectional_attention import BidirectionalAttention
from .mlp import MLP


class PreNormBlock(nn.Module):
    """`x + attention(norm(x))`, then `x + mlp(norm(x))`.

    Args:
        dim: Channels D.
        heads: Heads of the attention.
        width: Hidden channels of the feed-forward layer.
        attention_dropout: Dropout of the attention weights.
        dropout: Dropout of both branches; the feed-forward layer's hidden channels are spared.
        eps: Of both norms.

    Raises:
        UserError: Heads that do not divide the channels.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        width: int,
        attention_dropout: float = 0.0,
        dropout: float = 0.0,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        if dim % heads:
            raise UserError(f'PreNormBlock: the {heads} heads do not divide {dim} channels.')
        self.attention_norm = nn.LayerNorm(dim, eps)
        self.attention = BidirectionalAttention(dim, heads, dropout=attention_dropout, out_dropout=dropout)
        self.ffn_norm = nn.LayerNorm(dim, eps)
        self.ffn = MLP(dim, width, dropout, approximate='none')

    def forward(self, x_BLD: Tensor) -> Tensor:
        """(B, L, D) to (B, L, D)."""
        x_BLD = x_BLD + self.attention(self.attention_norm(x_BLD))
        return x_BLD + self.ffn(self.ffn_norm(x_BLD))
