"""Multi-head attention of every position to every other."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from fvq_core.registry.argument_types import check_sizes

EPS = 1e-5


class BidirectionalAttention(nn.Module):
    """Scaled dot-product attention without mask, positions or cache, as in BERT and vision transformers.

    Args:
        dim: Channels D.
        heads: They have `dim // heads` channels each, and need not divide D: 6 heads of 85 channels in the small model of
            Halton-MaskGIT, where D is 512.
        qkv_bias: Whether queries, keys and values have biases.
        out_bias: Whether the result's map has one.
        normalize_qk: Divide queries and keys by the root mean square of all their heads.
        dropout: Dropout of the attention weights, in training.
        out_dropout: Dropout of the result, in training.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        qkv_bias: bool = True,
        out_bias: bool = True,
        normalize_qk: bool = False,
        dropout: float = 0.0,
        out_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_sizes('BidirectionalAttention', dim=dim, heads=heads, head_channels=dim // max(1, heads))
        self.head_dim = dim // heads
        width = heads * self.head_dim
        self.qkv = nn.Linear(dim, 3 * width, bias=qkv_bias)
        self.out = nn.Linear(width, dim, bias=out_bias)
        self.normalize_qk, self.dropout = normalize_qk, dropout
        self.out_dropout = nn.Dropout(out_dropout)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """(B, L, D) to (B, L, D)."""
        q, k, v = self.qkv(x_BLD).chunk(3, dim=-1)
        if self.normalize_qk:
            q, k = (F.rms_norm(each.float(), each.shape[-1:], eps=EPS).type_as(v) for each in (q, k))
        q, k, v = (each.unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for each in (q, k, v))
        out_BHLD = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0.0)
        return self.out_dropout(self.out(out_BHLD.transpose(1, 2).flatten(2)))
