"""The pre-norm block of GPT-2 as minGPT has it: LayerNorm, biases and a feed-forward layer of four times the width."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import Attention
from .kv_cache import KVCache
from .linear import Linear


class SquaredReLU(nn.Module):
    """`relu(x)^2` (So et al., 2021)."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return F.relu(x).square()


class TokenShift(nn.Module):
    """Each channel mixes a token with the one before it: `mix x + (1 - mix) previous`; zeros stand before the first.

    Args:
        dim: Channels D. The mix starts at i / (D - 1) for channel i.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.mix_D = nn.Parameter(torch.arange(dim) / max(1, dim - 1))

    def forward(
        self, x_BLD: Tensor, cache: KVCache | None = None, layer: int = 0, position: int | Tensor = 0
    ) -> Tensor:
        """(B, L, D) to (B, L, D); a cache gives the token before, and keeps the last of these."""
        previous_BLD = F.pad(x_BLD, (0, 0, 1, -1))
        if cache is not None:
            last_BD = cache.kept[layer]
            if not isinstance(position, int) or position:  # at the start there is none, whatever the memory held
                previous_BLD = torch.cat([last_BD[:, None].to(x_BLD.dtype), previous_BLD[:, 1:]], dim=1)
            last_BD.copy_(x_BLD[:, -1])
        return x_BLD * self.mix_D + previous_BLD * (1 - self.mix_D)


class GPTBlock(nn.Module):
    """`x + attention(norm(x))`, then `x + feed_forward(norm(x))`, with biases.

    Args:
        dim: Channels D.
        heads: Heads of the attention.
        activation: Of the feed-forward layer: GELU in minGPT, `SquaredReLU` in ViT-VQ's.
        attention_dropout: Dropout of the attention weights.
        residual_dropout: Dropout of the result of attention and feed-forward layer.
        token_shift: Whether `TokenShift` comes before queries, keys and values.
        attention_bias, ffn_bias: Whether their linear maps have biases.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        activation: nn.Module,
        attention_dropout: float = 0.0,
        residual_dropout: float = 0.0,
        token_shift: bool = False,
        attention_bias: bool = True,
        ffn_bias: bool = True,
    ) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(dim)
        self.token_shift = TokenShift(dim) if token_shift else None
        self.attention = Attention(dim, heads, None, attention_dropout, residual_dropout, bias=attention_bias)
        self.ffn_norm = nn.LayerNorm(dim)
        self.ffn = nn.Sequential(
            Linear(dim, 4 * dim, bias=ffn_bias),
            activation,
            nn.Linear(4 * dim, dim, bias=ffn_bias),
            nn.Dropout(residual_dropout),
        )

    def forward(
        self,
        x_BLD: Tensor,
        rotations_LP2: Tensor | None = None,
        mask: Tensor | None = None,
        causal: bool = False,
        cache: KVCache | None = None,
        layer: int = 0,
        position: int | Tensor = 0,
    ) -> Tensor:
        """See `Attention`."""
        y_BLD = self.attention_norm(x_BLD)
        if self.token_shift is not None:
            y_BLD = self.token_shift(y_BLD, cache, layer, position)
        x_BLD = x_BLD + self.attention(y_BLD, rotations_LP2, mask, causal, cache, layer, position)
        return x_BLD + self.ffn(self.ffn_norm(x_BLD))
