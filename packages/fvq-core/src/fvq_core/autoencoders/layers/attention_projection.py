"""UniTok's maps between the tokens of a transformer and its narrow codes (Ma et al., 2025, section 3.3), and its gated MLP."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import UserError
from ...ops.full_precision import no_autocast


class GeGLU(nn.Module):
    """LayerNorm, then `out(gelu(gate x) * value x)` with the tanh form of GELU: (..., width) to the same shape.

    The norm is its own, behind that of the block around it (ViTamin, Chen et al., 2024).
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.gate = nn.Linear(width, hidden)
        self.value = nn.Linear(width, hidden)
        self.out = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        return self.out(F.gelu(self.gate(x), approximate='tanh') * self.value(x))


class AttentionProjection(nn.Module):
    """Tokens (B, T, in_width) to (B, T, out_width): attention plus a linear map, each behind a LayerNorm, then `GeGLU`.

    Heads divide the wider side. To a narrower one they are averaged, and neighbouring channels too if a head is still
    wider (`adaptive_avg_pool1d`); else they are concatenated. It computes in the type of its weights, also under autocast:
    codes change with the rounding of bfloat16.

    Args:
        heads: Attention heads; wide side / narrow side in UniTok, the number of codebooks in its `VQVAE`.
        causal: Each token sees only itself and those before it, as in UniTok's first release; its second sees all.

    Raises:
        UserError: Heads that do not divide the wider side.
    """

    def __init__(self, in_width: int, out_width: int, heads: int, causal: bool = False) -> None:
        super().__init__()
        wide = max(in_width, out_width)
        if wide % heads:
            raise UserError(f'AttentionProjection: {wide} channels are not a multiple of {heads} heads; change heads.')
        self.heads, self.causal, self.narrows = heads, causal, in_width > out_width
        self.norm1 = nn.LayerNorm(in_width)
        self.qkv = nn.Linear(in_width, 3 * wide, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(wide))  # one of keys would add the same to all of a query's logits
        self.v_bias = nn.Parameter(torch.zeros(wide))
        self.attention_out = nn.Linear(out_width, out_width)
        self.norm2 = nn.LayerNorm(in_width)
        self.linear = nn.Linear(in_width, out_width)
        self.norm3 = nn.LayerNorm(out_width)
        self.mlp = GeGLU(out_width, 2 * out_width)

    def forward(self, x_BTC: Tensor) -> Tensor:
        with no_autocast(x_BTC.device.type):
            x_BTC = x_BTC.to(self.linear.weight.dtype)
            x_BTC = self.linear(self.norm2(x_BTC)) + self.attention(self.norm1(x_BTC))
            return x_BTC + self.mlp(self.norm3(x_BTC))

    def attention(self, x_BTC: Tensor) -> Tensor:
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        qkv = F.linear(x_BTC, self.qkv.weight, bias).unflatten(2, (3, self.heads, -1))
        q_BHTc, k_BHTc, v_BHTc = qkv.permute(2, 0, 3, 1, 4)
        h_BHTc = F.scaled_dot_product_attention(q_BHTc, k_BHTc, v_BHTc, is_causal=self.causal)
        if self.narrows:
            return self.attention_out(F.adaptive_avg_pool1d(h_BHTc.mean(1), self.linear.out_features))
        return self.attention_out(h_BHTc.transpose(1, 2).flatten(2))

    def extra_repr(self) -> str:
        return f'heads={self.heads}, causal={self.causal}'


def projection(in_width: int, out_width: int, heads: int | None, causal: bool) -> AttentionProjection:
    """An `AttentionProjection`, by default with a head for each multiple of the narrower side."""
    default = max(in_width, out_width) // min(in_width, out_width)
    return AttentionProjection(in_width, out_width, heads or default, causal)
