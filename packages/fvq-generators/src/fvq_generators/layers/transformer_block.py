"""A pre-norm block of attention and feed-forward layer."""

from __future__ import annotations

from torch import Tensor, nn

from ..ops.decode_attention import decode_attention
from ..ops.projection import project, project_qkv
from .attention import Attention
from .drop_path import DropPath
from .kv_cache import KVCache
from .rms_norm import RMSNorm
from .swiglu import SwiGLU


class TransformerBlock(nn.Module):
    """`x + attention(norm(x))`, then `x + feed_forward(norm(x))`; stochastic depth on both branches.

    Args:
        dim, heads, kv_heads: See `Attention`.
        width: Hidden channels of the feed-forward layer.
        norm_eps: Epsilon of the norms.
        attention_dropout: Dropout of the attention weights.
        residual_dropout: Dropout of the attention's result.
        ffn_dropout: Dropout of the feed-forward layer's result.
        drop_path: Rate of stochastic depth.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        kv_heads: int | None,
        width: int,
        norm_eps: float = 1e-5,
        attention_dropout: float = 0.0,
        residual_dropout: float = 0.0,
        ffn_dropout: float = 0.0,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(dim, norm_eps)
        self.attention = Attention(dim, heads, kv_heads, attention_dropout, residual_dropout)
        self.ffn_norm = RMSNorm(dim, norm_eps)
        self.ffn = SwiGLU(dim, width, ffn_dropout)
        self.drop_path = DropPath(drop_path)

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
        attended = self.attention(self.attention_norm(x_BLD), rotations_LP2, mask, causal, cache, layer, position)
        x_BLD = x_BLD + self.drop_path(attended)
        return x_BLD + self.drop_path(self.ffn(self.ffn_norm(x_BLD)))

    def step(
        self,
        x_BD: Tensor,
        rotations_P2: Tensor | None,
        visible_BT: Tensor | None,
        cache: KVCache,
        layer: int,
        position: Tensor,
    ) -> Tensor:
        """One new position of each sequence, (B, D) to (B, D): what `forward` computes in eval mode, in six kernels.

        Args:
            x_BD: The new position.
            rotations_P2: Its row of a rotary table; None for none.
            visible_BT: bool, False for hidden positions; None hides none.
            cache, layer: See `Attention`.
            position: int64 (1,) on the device; the positions before it are in the cache.
        """
        qkv, out, norm = self.attention.qkv.weight, self.attention.out.weight, self.attention_norm
        keys, values = cache.keys, cache.values
        q_BHD = project_qkv(x_BD, qkv, norm.weight, norm.eps, rotations_P2, position, keys, values, layer)
        x_BD = project(decode_attention(q_BHD, keys, values, position, visible_BT, layer), out, None, 0.0, x_BD, False)
        hidden_BW = project(x_BD, self.ffn.gate_up.weight, self.ffn_norm.weight, self.ffn_norm.eps, None, True)
        return project(hidden_BW, self.ffn.out.weight, None, 0.0, x_BD, False)
