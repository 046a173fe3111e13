"""The plain pre-norm transformer block of vision transformers (Dosovitskiy et al., 2021, figure 1)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import UserError


class SelfAttention(nn.Module):
    """Multi-head self-attention over all tokens, (B, T, width) to the same shape.

    Args:
        width: Channels of a token.
        heads: Number of heads.
        head_width: Channels of a head; `width / heads` by default.
        qkv_bias: Whether queries, keys and values have biases.
    """

    def __init__(self, width: int, heads: int, head_width: int | None = None, qkv_bias: bool = True) -> None:
        super().__init__()
        if head_width is None and width % heads:
            raise UserError(f'SelfAttention: width {width} is not a multiple of {heads} heads; change one of them.')
        self.head_width = head_width or width // heads
        self.qkv = nn.Linear(width, 3 * heads * self.head_width, bias=qkv_bias)
        self.proj = nn.Linear(heads * self.head_width, width)

    def forward(self, x_BTC: Tensor) -> Tensor:
        qkv = self.qkv(x_BTC).unflatten(2, (3, -1, self.head_width))
        q_BHTc, k_BHTc, v_BHTc = qkv.permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q_BHTc, k_BHTc, v_BHTc).transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """Linear, activation, linear: (..., width) to the same shape, with `hidden` channels between."""

    def __init__(self, width: int, hidden: int, activation: Callable[[], nn.Module] = nn.GELU) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.act = activation()
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


class ViTBlock(nn.Module):
    """x + attention(norm x), then x + mlp(norm x): tokens (B, T, width) to the same shape.

    Args:
        width, heads, head_width, qkv_bias: See `SelfAttention`.
        mlp_ratio: Hidden channels of the MLP as a multiple of `width`.
        mlp: From `width` and hidden channels to the network behind the attention; `MLP` with exact GELU by default.
        eps: Of both LayerNorms.
        drop_path: Probability that training leaves a branch out for an image (stochastic depth, Huang et al., 2016).
        layer_scale: Initial factor of both branches, learned for each channel (Touvron et al., 2021); None for none.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        mlp_ratio: float = 4.0,
        *,
        head_width: int | None = None,
        qkv_bias: bool = True,
        mlp: Callable[[int, int], nn.Module] = MLP,
        eps: float = 1e-5,
        drop_path: float = 0.0,
        layer_scale: float | None = None,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attn = SelfAttention(width, heads, head_width, qkv_bias)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = mlp(width, round(width * mlp_ratio))
        self.drop_path = drop_path
        factors = [None if layer_scale is None else nn.Parameter(torch.full((width,), layer_scale)) for _ in range(2)]
        self.scale1, self.scale2 = factors

    def forward(self, x_BTC: Tensor) -> Tensor:
        x_BTC = x_BTC + self.keep(self.attn(self.norm1(x_BTC)), self.scale1)
        return x_BTC + self.keep(self.mlp(self.norm2(x_BTC)), self.scale2)

    def keep(self, branch_BTC: Tensor, scale_C: Tensor | None = None) -> Tensor:
        """The branch times its scale, in training zero for some images and larger for the others."""
        if scale_C is not None:
            branch_BTC = branch_BTC * scale_C
        if not self.drop_path or not self.training:
            return branch_BTC
        return branch_BTC * F.dropout(branch_BTC.new_ones(len(branch_BTC), 1, 1), self.drop_path)
