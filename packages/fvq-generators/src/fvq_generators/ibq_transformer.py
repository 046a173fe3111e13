"""IBQ's generator (Shi et al., 2024): LlamaGen's transformer, with adaptive norms of the class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fvq_core.codes import CodeLayout, Grid
from fvq_core.codes import Sequence as CodeSequence
from fvq_core.registry import GENERATORS
from fvq_core.registry.argument_types import check_sizes

from .cached_generator import CachedGenerator
from .checks import check_rates, layout_of
from .layers import (
    AdaLayerNorm,
    Attention,
    CachedAdaLNBlock,
    CausalMask,
    ClassEmbedding,
    KVCache,
    Linear,
    Modulation,
    RMSNorm,
    SwiGLU,
    normalize_with,
    positions_table,
)
from .layers.swiglu import swiglu_width


@GENERATORS.register_module()
class IBQTransformer(CachedGenerator):
    """A class, then codes, through blocks of RMSNorm, rotary attention and SwiGLU whose norms the class scales and shifts.

    The published sizes (depth x dim, heads): B 16 x 1024, 16; L 20 x 1280, 20; XL 24 x 1536, 24; XXL 30 x 1920, 30.

    Args:
        layout: `CodeLayout` of a `Grid` or `Sequence`, or its description.
        dim: Channels D.
        depth: Blocks.
        heads: Heads of the attention.
        hidden_multiple: The feed-forward width is two thirds of 4 D rounded up to a multiple of it.
        token_dropout: Dropout of class and code tokens.
        attention_dropout: Dropout of the attention weights.
        residual_dropout: Dropout of the attention's result.
        ffn_dropout: Dropout of the feed-forward layer's result.
        drop_path: Rate of stochastic depth at the last block, from 0 at the first.
        num_classes: Classes.
        cond_dropout: Share of the classes that training drops; 0.1 whatever the released configs say.
        gate_init: Factor of the start values of the gates' rows, `alng` in the release: 1e-3 for B and L, 1e-4 XL, 1e-5 XXL.
        checkpointing, loss_rows: See `AutoregressiveGenerator`.

    Raises:
        UserError: A layout that it cannot model, or sizes that do not fit each other.
    """

    position_kinds = (Grid, CodeSequence)
    norm: AdaLayerNorm  # pyrefly: ignore[bad-override]

    def __init__(
        self,
        layout: CodeLayout | Mapping[str, Any],
        dim: int = 1024,
        depth: int = 16,
        heads: int = 16,
        hidden_multiple: int = 256,
        token_dropout: float = 0.1,
        attention_dropout: float = 0.0,
        residual_dropout: float = 0.1,
        ffn_dropout: float = 0.1,
        drop_path: float = 0.0,
        num_classes: int = 1000,
        cond_dropout: float = 0.1,
        gate_init: float = 1e-3,
        checkpointing: bool = False,
        loss_rows: int | None = None,
    ) -> None:
        super().__init__()
        self.layout = layout_of(self, layout)
        check_sizes(
            'IBQTransformer',
            dim=dim,
            depth=depth,
            heads=heads,
            num_classes=num_classes,
            hidden_multiple=hidden_multiple,
        )
        check_rates('IBQTransformer', drop_path=drop_path, cond_dropout=cond_dropout)
        self.checkpointing, self.loss_rows = checkpointing, loss_rows
        self.condition = ClassEmbedding(num_classes, dim, cond_dropout)
        V, width = self.layout.vocab_size, swiglu_width(dim, hidden_multiple)
        self.code_embedding = nn.Embedding(V, dim)
        self.token_dropout = nn.Dropout(token_dropout)
        self.blocks = nn.ModuleList(
            CachedAdaLNBlock(
                Attention(dim, heads, None, attention_dropout, residual_dropout),
                SwiGLU(dim, width, ffn_dropout),
                RMSNorm(dim),
                RMSNorm(dim),
                Modulation(dim),
                rate,
            )
            for rate in torch.linspace(0, drop_path, depth, device='cpu').tolist()
        )
        self.kv_heads, self.head_dim, self.kept = heads, dim // heads, (depth + 1, 6 * dim)
        self.norm = AdaLayerNorm(RMSNorm(dim), Modulation(dim, 2))
        self.head = Linear(dim, V, bias=False)
        self._init_weights(gate_init)
        self._make_tables()

    @torch.no_grad()
    def _init_weights(self, gate_init: float) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
        for module in self.modules():
            if isinstance(module, Modulation):
                gates = 2 * (len(module.linear.bias) // 6) if module.parts == 6 else 0
                module.linear.weight[:gates] *= gate_init
                module.linear.weight[gates:] *= 0.5
                module.linear.bias.zero_()
        nn.init.zeros_(self.head.weight)

    def _make_tables(self) -> None:
        """Constants, on the device of the weights. They are not buffers: a model in bfloat16 keeps its angles in float32."""
        self.rotations = positions_table(self.layout.positions, self.head_dim, self.condition.tokens, self.device)
        self.mask = CausalMask(self.sequence_length, self.condition.tokens, self.device)

    def _apply(self, fn: Any, recurse: bool = True) -> IBQTransformer:
        super()._apply(fn, recurse)
        self._make_tables()
        return self

    def embed(self, indices_BL: Tensor, first: int | Tensor = 0) -> Tensor:
        return self.code_embedding(indices_BL)

    def context(self, cond_BTD: Tensor) -> Tensor:
        return cond_BTD[:, :1]

    def normalize(self, x_BLD: Tensor, cache: KVCache | None, context: Tensor | None) -> Tensor:
        return normalize_with(self.norm, x_BLD, cache, context)

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """Two blocks of 64 channels for 16 codes; dropout and all other options stay."""
        layout = dict(type='Grid', height=4, width=4, codebook_size=64)
        return dict(layout=layout, dim=64, depth=2, heads=2, hidden_multiple=32)
