"""L-DiT (Large-DiT of LLaMA2-Accessory; Gao et al., 2024): DiT's modulation around Llama's layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvq_core.codes import LatentLayout
from fvq_core.errors import UserError
from fvq_core.registry import GENERATORS
from fvq_core.registry.argument_types import check_sizes

from .checks import check_rates
from .dit import plain_norm, start_as_identity
from .latent_diffusion import LatentDiffusion
from .layers import (
    AdaLayerNorm,
    AdaLNBlock,
    ClassEmbedding,
    Modulation,
    RMSNorm,
    SwiGLU,
    TimeEmbedding,
    rotate,
    sequence_rotations,
)
from .layers.swiglu import swiglu_width
from .patches import Patches

MOST_CONDITION_CHANNELS = 1024  # of time, class and what the modulations read


class QKNormAttention(nn.Module):
    """Attention of every position to every other, with rotary positions; queries and keys pass a LayerNorm over all heads.

    Args:
        dim: Channels D.
        heads: Heads; they divide D.
        qk_norm: Whether queries and keys are normalized.
    """

    def __init__(self, dim: int, heads: int, qk_norm: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)
        self.q_norm = nn.LayerNorm(dim) if qk_norm else nn.Identity()
        self.k_norm = nn.LayerNorm(dim) if qk_norm else nn.Identity()

    def forward(self, x_BLD: Tensor, rotations_LP2: Tensor) -> Tensor:
        """(B, L, D) to (B, L, D)."""
        q, k, v = self.qkv(x_BLD).chunk(3, dim=-1)
        q, k, v = (each.unflatten(-1, (self.heads, -1)) for each in (self.q_norm(q), self.k_norm(k), v))
        q, k = rotate(q, rotations_LP2).type_as(v), rotate(k, rotations_LP2).type_as(v)
        out_BHLD = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
        return self.out(out_BHLD.transpose(1, 2).flatten(2))


@GENERATORS.register_module()
class LargeDiT(LatentDiffusion):
    """RMSNorm, SwiGLU, and rotary positions along the reading order, with no other positions; see `DiT`.

    The published sizes (depth x dim, heads): "3B" 32 x 3072, 32, which has 4.24 billion parameters; "7B" 32 x 4096, 32.

    Args:
        layout, patch_size, depth, heads, num_classes, cond_dropout: See `DiT`.
        dim: Channels D.
        hidden_multiple: The feed-forward width is rounded up to a multiple of it.
        qk_norm: See `QKNormAttention`.
        objective, schedule, steps, learned_variance: See `LatentDiffusion`.

    Raises:
        UserError: A layout that it cannot model, or sizes that do not fit each other.
    """

    def __init__(
        self,
        layout: LatentLayout | Mapping[str, Any],
        patch_size: int = 2,
        dim: int = 3072,
        depth: int = 32,
        heads: int = 32,
        hidden_multiple: int = 256,
        qk_norm: bool = True,
        num_classes: int = 1000,
        cond_dropout: float = 0.1,
        objective: Literal['diffusion', 'flow'] = 'diffusion',
        schedule: str = 'linear',
        steps: int = 1000,
        learned_variance: bool = True,
    ) -> None:
        super().__init__(layout, objective, schedule, steps, learned_variance)
        check_sizes(
            'LargeDiT', dim=dim, depth=depth, heads=heads, hidden_multiple=hidden_multiple, num_classes=num_classes
        )
        check_rates('LargeDiT', cond_dropout=cond_dropout)
        self.patching = Patches('LargeDiT', self.layout, patch_size)
        if dim % (2 * heads):
            raise UserError(f'LargeDiT: dim is a multiple of two channels for each of the {heads} heads, got {dim}.')
        self.heads = heads
        C = min(dim, MOST_CONDITION_CHANNELS)
        self.patches = nn.Linear(self.layout.channels * patch_size**2, dim)
        self.time = TimeEmbedding(C)
        self.condition = ClassEmbedding(num_classes, C, cond_dropout)
        self.blocks = nn.ModuleList(
            AdaLNBlock(
                QKNormAttention(dim, heads, qk_norm),
                SwiGLU(dim, swiglu_width(dim, hidden_multiple)),
                RMSNorm(dim),
                RMSNorm(dim),
                Modulation(dim, cond_dim=C),
            )
            for _ in range(depth)
        )
        self.norm = AdaLayerNorm(plain_norm(dim), Modulation(dim, 2, C))
        self.head = nn.Linear(dim, patch_size**2 * self.out_channels)
        start_as_identity(self, self.head)
        self._make_tables()

    def _make_tables(self) -> None:
        """Constants, on the device of the weights, in float32 whatever they are in."""
        head_dim = self.patches.out_features // self.heads
        with torch.device(self.patches.weight.device):
            self.rotations_LP2 = sequence_rotations(self.patching.length, head_dim)

    def _apply(self, fn: Any, recurse: bool = True) -> LargeDiT:
        super()._apply(fn, recurse)
        self._make_tables()
        return self

    def network(self, x_BDHW: Tensor, t_B: Tensor, labels_B: Tensor, *given: Tensor) -> Tensor:
        """See `LatentDiffusion.network`. Patches go in with channels outermost, and come out with channels innermost."""
        x_BLD = self.patches(self.patching.split(x_BDHW.to(self.patches.weight.dtype)))
        cond_B1C = self.time(t_B)[:, None] + self.condition(labels_B)
        for block in self.blocks:
            x_BLD = block(x_BLD, cond_B1C, self.rotations_LP2)
        return self.patching.join_innermost(self.head(self.norm(x_BLD, cond_B1C)))

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """Two blocks of 32 channels; latents of 8x8 positions and 4 channels, and 20 steps of the process."""
        layout = dict(type='Grid', height=8, width=8, channels=4)
        return dict(layout=layout, dim=32, depth=2, heads=2, hidden_multiple=16, steps=20)
