"""LlamaGen (Sun et al., 2024): a Llama-style transformer over the codes of a grid or of a sequence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fvq_core.codes import CodeLayout, Grid
from fvq_core.codes import Sequence as CodeSequence
from fvq_core.errors import UserError, nearest_hint
from fvq_core.registry import GENERATORS
from fvq_core.registry.argument_types import check_sizes

from .cached_generator import CachedGenerator
from .checks import check_rates, layout_of
from .layers import (
    CaptionEmbedding,
    CausalMask,
    ClassEmbedding,
    Linear,
    RMSNorm,
    TransformerBlock,
    positions_table,
)
from .layers.swiglu import swiglu_width

POSITIONS = ('rotary', 'learned')


@GENERATORS.register_module()
class LlamaGen(CachedGenerator):
    """Condition tokens, then codes; each code is predicted from what stands before it.

    The published sizes (depth x dim, heads): B 12 x 768, 12; L 24 x 1024, 16; XL 36 x 1280, 20; XXL 48 x 1536, 24;
    3B 24 x 3200, 32.

    Args:
        layout: `CodeLayout` of a `Grid` or `Sequence`, or `dict(type='Grid', height=16, width=16, codebook_size=16384)`.
        dim: Channels D.
        depth: Blocks.
        heads: Query heads.
        kv_heads: Heads of keys and values; as many as `heads` by default.
        hidden_multiple: The feed-forward width is two thirds of 4 D rounded up to a multiple of it.
        hidden_factor: Scales that width before it is rounded.
        positions: `'rotary'`: two-dimensional on a grid, one-dimensional on a sequence; or `'learned'` vectors that are
            added to the codes.
        rope_base: Base of the rotary frequencies.
        norm_eps: Epsilon of the norms.
        token_dropout: Dropout of condition and code tokens.
        attention_dropout: Dropout of the attention weights.
        residual_dropout: Dropout of the attention's result.
        ffn_dropout: Dropout of the feed-forward layer's result.
        drop_path: Stochastic depth, from 0 at the first block to this rate at the last. The released training sets the
            residual and feed-forward dropout to 0 with it.
        num_classes: Classes; not used with captions.
        caption_dim: Channels of caption features: makes a text-to-image model.
        caption_tokens: Feature vectors of a caption.
        cond_dropout: Share of the conditions that training drops, for classifier-free guidance.
        init_std: Standard deviation of the start values; the head starts at 0.
        checkpointing: Keep only the inputs of the blocks and compute the rest again in the backward pass.
        loss_rows: Rows of logits that the loss has at once; see `chunked_cross_entropy`.

    Raises:
        UserError: A layout that it cannot model, or sizes that do not fit each other.
    """

    position_kinds = (Grid, CodeSequence)

    def __init__(
        self,
        layout: CodeLayout | Mapping[str, Any],
        dim: int = 768,
        depth: int = 12,
        heads: int = 12,
        kv_heads: int | None = None,
        hidden_multiple: int = 256,
        hidden_factor: float | None = None,
        positions: Literal['rotary', 'learned'] = 'rotary',
        rope_base: float = 10000.0,
        norm_eps: float = 1e-5,
        token_dropout: float = 0.1,
        attention_dropout: float = 0.0,
        residual_dropout: float = 0.1,
        ffn_dropout: float = 0.1,
        drop_path: float = 0.0,
        num_classes: int = 1000,
        caption_dim: int | None = None,
        caption_tokens: int = 120,
        cond_dropout: float = 0.1,
        init_std: float = 0.02,
        checkpointing: bool = False,
        loss_rows: int | None = None,
    ) -> None:
        super().__init__()
        self.layout = layout_of(self, layout)
        check_sizes(
            'LlamaGen', dim=dim, depth=depth, heads=heads, num_classes=num_classes, hidden_multiple=hidden_multiple
        )
        check_rates('LlamaGen', drop_path=drop_path, cond_dropout=cond_dropout)
        if positions not in POSITIONS:
            raise UserError(f"LlamaGen: unknown positions '{positions}'; {nearest_hint(positions, POSITIONS)}")
        self.rope_base, self.checkpointing, self.loss_rows = rope_base, checkpointing, loss_rows
        self.condition = (
            ClassEmbedding(num_classes, dim, cond_dropout)
            if caption_dim is None
            else CaptionEmbedding(caption_dim, dim, caption_tokens, cond_dropout)
        )
        V = self.layout.vocab_size
        self.code_embedding = nn.Embedding(V, dim)
        self.position_embedding = nn.Parameter(torch.empty(self.layout.length, dim)) if positions == 'learned' else None
        self.token_dropout = nn.Dropout(token_dropout)
        width = swiglu_width(dim, hidden_multiple, hidden_factor)
        self.blocks = nn.ModuleList(
            TransformerBlock(
                dim, heads, kv_heads, width, norm_eps, attention_dropout, residual_dropout, ffn_dropout, rate
            )
            for rate in torch.linspace(0, drop_path, depth, device='cpu').tolist()
        )
        self.kv_heads, self.head_dim = heads if kv_heads is None else kv_heads, dim // heads
        self.norm = RMSNorm(dim, norm_eps)
        self.head = Linear(dim, V, bias=False)
        self.rotations = None
        self._make_tables()
        self._init_weights(init_std)

    def _init_weights(self, std: float) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=std)
        if self.position_embedding is not None:
            nn.init.normal_(self.position_embedding, std=std)
        nn.init.zeros_(self.head.weight)

    def _make_tables(self) -> None:
        """Constants, on the device of the weights. They are not buffers: a model in bfloat16 keeps its angles in float32."""
        device, head_dim = self.head.weight.device, self.head_dim
        if self.position_embedding is None:
            positions, tokens = self.layout.positions, self.condition.tokens
            self.rotations = positions_table(positions, head_dim, tokens, device, self.rope_base)
        self.mask = CausalMask(self.sequence_length, self.condition.tokens, device)

    def _apply(self, fn: Any, recurse: bool = True) -> LlamaGen:
        super()._apply(fn, recurse)
        self._make_tables()
        return self

    def embed(self, indices_BL: Tensor, first: int | Tensor = 0) -> Tensor:
        x_BLD = self.code_embedding(indices_BL)
        if self.position_embedding is None:
            return x_BLD
        if isinstance(first, int):
            return x_BLD + self.position_embedding[first : first + indices_BL.shape[1]]
        return x_BLD + self.position_embedding[first]

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """Two blocks of 64 channels for 16 codes; dropout and all other options stay."""
        kv_heads = None if cfg.get('kv_heads') is None else 1
        layout = dict(type='Grid', height=4, width=4, codebook_size=64)
        return dict(layout=layout, dim=64, depth=2, heads=2, kv_heads=kv_heads, hidden_multiple=32)
