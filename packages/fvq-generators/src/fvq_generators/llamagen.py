"""LlamaGen (Sun et al., 2024): a Llama-style transformer over the codes of a grid or of a sequence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fvq_core.codes import CodeLayout, Codes, Grid, Targets, layout_from_dict
from fvq_core.codes import Sequence as CodeSequence
from fvq_core.errors import UserError, nearest_hint
from fvq_core.ops.finite import can_sync
from fvq_core.registry import GENERATORS
from fvq_core.registry.argument_types import check_sizes

from .cached_generator import CachedGenerator
from .cross_entropy import chunked_cross_entropy
from .layers import (
    CaptionEmbedding,
    CausalMask,
    ClassEmbedding,
    RMSNorm,
    TransformerBlock,
    grid_rotations,
    sequence_rotations,
    with_condition_rows,
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
    likelihood = True

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
        self.layout = layout if isinstance(layout, CodeLayout) else layout_from_dict(dict(layout))
        self.check_layout(self.layout)
        check_sizes(
            'LlamaGen', dim=dim, depth=depth, heads=heads, num_classes=num_classes, hidden_multiple=hidden_multiple
        )
        for name, rate in dict(drop_path=drop_path, cond_dropout=cond_dropout).items():
            if not 0.0 <= rate < 1.0:
                raise UserError(f'LlamaGen: {name} must lie in [0, 1), got {rate}.')
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
        self.head = nn.Linear(dim, V, bias=False)
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
            with torch.device(device):
                positions = self.layout.positions
                if isinstance(positions, Grid):
                    table = grid_rotations(positions.height, positions.width, head_dim, self.rope_base)
                else:
                    table = sequence_rotations(self.layout.length, head_dim, self.rope_base)
                self.rotations = with_condition_rows(table, self.condition.tokens)
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

    def features(self, indices_BL: Tensor, cond: Tensor, caption_mask_BT: Tensor | None = None) -> Tensor:
        """Condition and codes through the transformer: what the head reads, (B, T + L, D).

        Args:
            indices_BL: The first codes of each image, possibly none.
            cond: Classes (B,) or caption features (B, T, C).
            caption_mask_BT: bool, True for real caption tokens, False for padding.

        Raises:
            UserError: More codes than the layout has.
        """
        if indices_BL.shape[1] > self.layout.length:
            raise UserError(
                f'LlamaGen: {indices_BL.shape[1]} codes do not fit a layout of {self.layout.length} ({self.layout}).'
            )
        x_BLD = self.token_dropout(torch.cat([self.condition(cond), self.embed(indices_BL)], dim=1))
        L = x_BLD.shape[1]
        mask = None if caption_mask_BT is None else self.mask.block(0, L, self._visible(caption_mask_BT, len(cond)))
        rotations = None if self.rotations is None else self.rotations[:L]
        for block in self.blocks:
            if self.checkpointing and torch.is_grad_enabled():
                x_BLD = checkpoint(block, x_BLD, rotations, mask, mask is None, use_reentrant=False)
            else:
                x_BLD = block(x_BLD, rotations, mask, mask is None)
        return self.norm(x_BLD)

    def loss(
        self, targets: Targets, cond: Tensor, caption_mask_BT: Tensor | None = None, valid_B: Tensor | None = None
    ) -> dict[str, Tensor]:
        """`cross_entropy` of the codes in nats, each from those before it.

        Args:
            targets: Codes of this model's layout.
            cond: Classes (B,) or caption features (B, T, C).
            caption_mask_BT: See `features`.
            valid_B: Weight of each image, such as 0 for one whose caption could not be read; the loss is a weighted mean.

        Raises:
            UserError: No codes, codes of another layout, or conditions that are not one an image; on a CPU
                also codes and conditions out of range.
        """
        codes = self.check_codes(targets)
        if len(cond) != len(codes):
            raise UserError(f'LlamaGen: {len(cond)} conditions for the codes of {len(codes)} images; give one each.')
        if can_sync(cond, wait=False):
            self.check_condition(cond)
        x_BLD = self.features(codes.indices_BL[:, :-1], cond, caption_mask_BT)[:, self.condition.tokens - 1 :]
        weights_N = None if valid_B is None else valid_B.repeat_interleave(self.layout.length)
        indices_N = codes.indices_BL.reshape(-1)
        value = chunked_cross_entropy(x_BLD.flatten(0, 1), self.head.weight, indices_N, weights_N, self.loss_rows)
        return {'cross_entropy': value}

    def check_codes(self, targets: Targets) -> Codes:
        """The codes of targets, which must be of this model's layout; on a CPU also in its range."""
        if not isinstance(targets, Targets) or targets.codes is None:
            raise UserError('LlamaGen: a loss wants Targets with codes, got none; write Targets(codes).')
        codes = targets.codes
        self.check_layout(codes.layout)
        if codes.layout != self.layout:
            raise UserError(
                f'LlamaGen: the codes are {codes.layout}, this model has learned {self.layout}; '
                'train one for these codes, or use the tokenizer that it was made for.'
            )
        if can_sync(codes.indices_BL, wait=False):
            self.layout.check(codes.indices_BL)
        return codes

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """Two blocks of 64 channels for 16 codes; dropout and all other options stay."""
        kv_heads = None if cfg.get('kv_heads') is None else 1
        layout = dict(type='Grid', height=4, width=4, codebook_size=64)
        return dict(layout=layout, dim=64, depth=2, heads=2, kv_heads=kv_heads, hidden_multiple=32)
