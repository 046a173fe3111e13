"""A block with adaptive layer norm for sequences that grow: its modulation is computed once an image."""

from __future__ import annotations

import torch
from torch import Tensor

from .ada_layer_norm import AdaLayerNorm, AdaLNBlock, modulate
from .kv_cache import KVCache


class CachedAdaLNBlock(AdaLNBlock):
    """An `AdaLNBlock` called like the other blocks of an autoregressive model, with the condition behind.

    What the modulation makes of the condition is kept in the cache, at the block's row of `KVCache.kept`. Steps are given no
    condition and read it there: a third fewer weights.
    """

    def forward(  # pyrefly: ignore[bad-override]
        self,
        x_BLD: Tensor,
        rotations_LP2: Tensor | None = None,
        mask: Tensor | None = None,
        causal: bool = False,
        cache: KVCache | None = None,
        layer: int = 0,
        position: int | Tensor = 0,
        cond_B1C: Tensor | None = None,
    ) -> Tensor:
        """See `Attention` and `AdaLNBlock`."""
        parts_B16D = kept_parts(self.modulation, cond_B1C, cache, layer, 6)
        return super().forward(x_BLD, None, rotations_LP2, mask, causal, cache, layer, position, parts_BL6D=parts_B16D)


def kept_parts(
    modulation: torch.nn.Module, cond_B1C: Tensor | None, cache: KVCache | None, row: int, parts: int
) -> Tensor:
    """What a modulation makes of a condition, (B, 1, parts, D): computed and kept, or of an earlier call that had one."""
    if cond_B1C is not None:
        made_B1PD: Tensor = modulation(cond_B1C)
        if cache is not None:
            kept_BC = cache.kept[row]
            kept_BC[:, : made_B1PD[0].numel()] = made_B1PD.flatten(1)
        return made_B1PD
    assert cache is not None, 'a condition, or a cache that has seen it'
    kept_BC = cache.kept[row]
    width = kept_BC.shape[1] // 6
    return kept_BC[:, : parts * width].view(-1, 1, parts, width)


def normalize_with(norm: AdaLayerNorm, x_BLD: Tensor, cache: KVCache | None, cond_B1C: Tensor | None) -> Tensor:
    """An `AdaLayerNorm` whose scale and shift lie in the last row of `KVCache.kept`."""
    return modulate(norm.norm(x_BLD), *kept_parts(norm.modulation, cond_B1C, cache, -1, 2).unbind(2))
