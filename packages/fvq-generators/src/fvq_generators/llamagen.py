"""LlamaGen (Sun et al., 2024): a Llama-style transformer over the codes of a grid or of a sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fvq_core.codes import CodeLayout, Codes, Grid, check_is_codes, layout_from_dict
from fvq_core.codes import Sequence as CodeSequence
from fvq_core.errors import UserError, nearest_hint
from fvq_core.generator import Generator
from fvq_core.ops.finite import may_look
from fvq_core.registry import GENERATORS

from .cross_entropy import chunked_cross_entropy
from .decoding import Pick, StaticSteps, decode
from .layers import (
    CaptionEmbedding,
    CausalMask,
    ClassEmbedding,
    KVCache,
    RMSNorm,
    TransformerBlock,
    grid_rotations,
    sequence_rotations,
    with_condition_rows,
)
from .layers.swiglu import swiglu_width
from .out_of_memory import memory_advice
from .sampling import Guidance, Sampler, check_seeds, new_seeds, uniforms

POSITIONS = ('rotary', 'learned')


@GENERATORS.register_module()
class LlamaGen(Generator):
    """Condition tokens, then codes; each code is predicted from what stands before it.

    The published sizes (depth x dim, heads): B 12 x 768, 12; L 24 x 1024, 16; XL 36 x 1280, 20; XXL 48 x 1536, 24;
    3B 24 x 3200, 32.

    Args:
        layout: Of a `Grid` or `Sequence`, or its description `dict(type='Grid', height=16, width=16, codebook_size=16384)`.
        dim: Channels D.
        depth: Blocks.
        heads: Query heads.
        kv_heads: Heads of keys and values; as many as `heads` by default.
        hidden_multiple: The feed-forward width is two thirds of 4 D rounded up to a multiple of it.
        hidden_factor: Scales that width before it is rounded.
        positions: `'rotary'`: two-dimensional on a grid, one-dimensional on a sequence; or `'learned'` vectors that are
            added to the codes.
        rope_base: Base of the rotary frequencies.
        norm_eps: Of the norms.
        token_dropout: Of condition and code tokens.
        attention_dropout: Of the attention weights.
        residual_dropout: Of the attention's result.
        ffn_dropout: Of the feed-forward layer's result.
        drop_path: Stochastic depth, from 0 at the first block to this rate at the last. The released training sets the
            residual and feed-forward dropout to 0 with it.
        num_classes: Classes; not used with captions.
        caption_dim: Channels of caption features: makes a text-to-image model.
        caption_tokens: Feature vectors of a caption.
        cond_dropout: Share of the conditions that training drops, for classifier-free guidance.
        init_std: Standard deviation of the start values; the head starts at 0.
        checkpointing: Keep the blocks' inputs alone and compute the rest again in the backward pass.
        loss_rows: Rows of logits that the loss has at once; see `chunked_cross_entropy`.

    Raises:
        UserError: A layout that it cannot model, or sizes that do not fit each other.
    """

    positions = (Grid, CodeSequence)

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
        check_sizes(dim=dim, depth=depth, heads=heads, num_classes=num_classes, hidden_multiple=hidden_multiple)
        check_rates(drop_path=drop_path, cond_dropout=cond_dropout)
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
        self.rotations: Tensor | None = None
        self.static_steps: StaticSteps | None = None
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
        """Constants, on the device of the weights. They are no buffers: a model in bfloat16 keeps its angles in float32."""
        device, head_dim = self.head.weight.device, self.head_dim
        if self.position_embedding is None:
            with torch.device(device):
                if isinstance(self.layout.positions, Grid):
                    table = grid_rotations(*self.layout.positions.shape, head_dim, self.rope_base)
                else:
                    table = sequence_rotations(self.layout.length, head_dim, self.rope_base)
                self.rotations = with_condition_rows(table, self.condition.tokens)
        self.mask = CausalMask(self.places, self.condition.tokens, device)

    def _apply(self, fn: Any, recurse: bool = True) -> LlamaGen:
        super()._apply(fn, recurse)
        self._make_tables()
        self.static_steps = None
        return self

    @property
    def num_classes(self) -> int | None:  # pyrefly: ignore[bad-override]
        return self.condition.num_classes if isinstance(self.condition, ClassEmbedding) else None

    @property
    def caption_shape(self) -> tuple[int, int] | None:  # pyrefly: ignore[bad-override]
        return (
            None if isinstance(self.condition, ClassEmbedding) else (self.condition.tokens, self.condition.caption_dim)
        )

    def units(self) -> list[nn.Module]:
        return list(self.blocks)

    def check_condition(self, cond: Tensor) -> None:
        self.condition.check(cond)

    @property
    def places(self) -> int:
        """Condition tokens and codes."""
        return self.condition.tokens + self.layout.length

    @property
    def device(self) -> torch.device:
        """Of the weights."""
        return self.head.weight.device

    def embed(self, indices_BL: Tensor, first: int | Tensor = 0) -> Tensor:
        """Codes to tokens (B, L, D); `first` is the number of the first of them in the sequence, or each one's (L,)."""
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

    def logits(self, x: Tensor) -> Tensor:
        """float32 logits (..., V) of what `features` returns."""
        return self.head(x).float()

    def loss(
        self,
        codes: Codes,
        cond: Tensor,
        caption_mask_BT: Tensor | None = None,
        valid_B: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """`cross_entropy` of the codes in nats, each from those before it.

        Args:
            codes: Of this model's layout.
            cond: Classes (B,) or caption features (B, T, C).
            caption_mask_BT: See `features`.
            valid_B: Weight of each image, such as 0 for one whose caption could not be read; the loss is a weighted mean.

        Raises:
            UserError: Something else than codes, codes of another layout, or conditions that are not one an image; on a CPU
                also codes and conditions out of range.
        """
        self.check_codes(codes)
        if len(cond) != len(codes):
            raise UserError(f'LlamaGen: {len(cond)} conditions for the codes of {len(codes)} images; give one each.')
        if may_look(cond, wait=False):
            self.check_condition(cond)
        x_BLD = self.features(codes.indices_BL[:, :-1], cond, caption_mask_BT)[:, self.condition.tokens - 1 :]
        weights_N = None if valid_B is None else valid_B.repeat_interleave(self.layout.length)
        targets_N = codes.indices_BL.reshape(-1)
        value = chunked_cross_entropy(x_BLD.flatten(0, 1), self.head.weight, targets_N, weights_N, self.loss_rows)
        return {'cross_entropy': value}

    def check_codes(self, codes: Codes) -> None:
        """Refuse codes that lie on the image in another way; on a CPU also those that the layout cannot hold.

        Raises:
            UserError: Naming both layouts, or the codes.
        """
        check_is_codes(type(self).__name__, codes)
        self.check_layout(codes.layout)
        if codes.layout != self.layout:
            raise UserError(
                f'LlamaGen: the codes lie on {codes.layout}, this model has learned {self.layout}; '
                'train one for these codes, or use the tokenizer that it was made for.'
            )
        if may_look(codes.indices_BL, wait=False):
            self.layout.check(codes.indices_BL)

    def new_cache(self, batch: int) -> KVCache:
        """Empty memory for that many sequences of condition tokens and codes."""
        # The last code is never read again.
        places, dtype = self.places - 1, self.head.weight.dtype
        return KVCache(len(self.blocks), batch, self.kv_heads, places, self.head_dim, dtype, self.device)

    def extend(self, x_BLD: Tensor, cache: KVCache, position: int | Tensor, visible_BT: Tensor | None = None) -> Tensor:
        """New tokens behind those in the cache, (B, L, D) to (B, L, D).

        Args:
            x_BLD: The new tokens.
            cache: Of the earlier ones; takes the new ones.
            position: The place of the first new one, or the places (L,) as a tensor on the device.
            visible_BT: bool, which of all places may be looked at; None for all.

        Raises:
            UserError: The cache is too short.
        """
        L = x_BLD.shape[1]
        mask, rotations = None, None
        if isinstance(position, int):
            cache.check_room(position, L)
            if visible_BT is not None or (position and L > 1):
                mask = self.mask.block(position, L, visible_BT)
            if self.rotations is not None:
                rotations = self.rotations[position : position + L]
        else:
            mask = self.mask.rows(position, cache.length, visible_BT)
            if self.rotations is not None:
                rotations = self.rotations[position]
        causal = mask is None and L > 1
        for layer, block in enumerate(self.blocks):
            x_BLD = block(x_BLD, rotations, mask, causal, cache, layer, position)
        return self.norm(x_BLD)

    def prefill(self, cond: Tensor, cache: KVCache, visible_BT: Tensor | None = None) -> Tensor:
        x_BTD = self.token_dropout(self.condition(cond))
        return self.logits(self.extend(x_BTD, cache, 0, visible_BT)[:, -1])

    def step(
        self, tokens_B: Tensor, cache: KVCache, position: int | Tensor, visible_BT: Tensor | None = None
    ) -> Tensor:
        x_B1D = self.token_dropout(self.embed(tokens_B[:, None], position - self.condition.tokens))
        return self.logits(self.extend(x_B1D, cache, position, visible_BT)[:, -1])

    def _visible(self, caption_mask_BT: Tensor, batch: int) -> Tensor:
        """Which of all places may be looked at, bool (B, T): real caption tokens, and every code."""
        if not isinstance(self.condition, CaptionEmbedding):
            raise UserError('LlamaGen: a caption mask goes with captions, and this model has classes; leave it out.')
        if caption_mask_BT.shape != (batch, self.condition.tokens):
            raise UserError(
                f'LlamaGen: expected a caption mask of {(batch, self.condition.tokens)}, a line for each caption, got '
                f'{tuple(caption_mask_BT.shape)}.'
            )
        codes_BL = caption_mask_BT.new_ones(batch, self.layout.length, dtype=torch.bool)
        return torch.cat([caption_mask_BT.bool(), codes_BL], dim=1)

    def sample(
        self,
        cond: Tensor,
        *,
        cfg_scale: float = 1.0,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        rng: torch.Generator | None = None,
        seeds: Sequence[int] | None = None,
        cfg_interval: int = -1,
        cfg_schedule: str = 'constant',
        caption_mask_BT: Tensor | None = None,
        compile: bool | str = False,
        pick: Pick | None = None,
    ) -> Codes:
        """Draw codes for each condition.

        Args:
            cond: Classes (B,) or caption features (B, T, C).
            cfg_scale: Strength of classifier-free guidance; 1 is none.
            temperature: Of the softmax; 0 takes the likeliest code.
            top_k: Keep the k likeliest codes; 0 keeps all.
            top_p: Keep the likeliest codes of this total probability; 1 keeps all.
            rng: Where seeds come from if there are none; torch's own by default.
            seeds: One for each image. An image depends on its seed and its condition, not on the others of its batch.
            cfg_interval: See `Guidance`.
            cfg_schedule: See `Guidance`.
            caption_mask_BT: bool, True for real caption tokens.
            compile: Compile the steps, and on a GPU record them as CUDA graphs; True, or a backend of `torch.compile`.
                The first batch of each size is slow.
            pick: Chooses tokens in place of temperature, `top_k` and `top_p`.

        Raises:
            UserError: Conditions that the model does not have, guidance of a model that was trained without dropping
                conditions, settings without meaning, or too little memory; it says which batch fits.
        """
        pick = pick or Sampler(temperature, top_k, top_p)
        guidance = Guidance(cfg_scale, cfg_interval, cfg_schedule)
        if not isinstance(cond, Tensor):
            raise UserError(f'LlamaGen: conditions are a tensor, got {type(cond).__name__}; use torch.as_tensor.')
        cond = cond.to(self.device)
        self.check_condition(cond)
        cond = cond if cond.is_floating_point() else cond.long()
        if guidance.active and not self.condition.drop_rate:
            raise UserError(
                f'LlamaGen: cfg_scale {cfg_scale} needs a model that was trained with cond_dropout; this one has 0, and does '
                'not know images without a condition. Use cfg_scale=1.'
            )
        seeds = new_seeds(len(cond), rng) if seeds is None else check_seeds(seeds, len(cond))
        if not len(cond):
            return Codes(torch.empty(0, self.layout.length, dtype=torch.int64, device=self.device), self.layout)
        visible_BT = None if caption_mask_BT is None else self._visible(caption_mask_BT.to(self.device), len(cond))
        per_image = self._cache_bytes() * (2 if guidance.active else 1)
        training = self.training
        try:
            self.eval()
            with memory_advice(len(cond), self.device, per_image, self._forget_steps):
                codes_BL = decode(
                    self,
                    torch.cat([cond, self.condition.null(cond)]) if guidance.active else cond,
                    prefix=self.condition.tokens,
                    uniforms_BL=uniforms(seeds, self.layout.length).to(self.device),
                    pick=pick,
                    guidance=guidance,
                    visible_BT=visible_BT.repeat(2, 1) if visible_BT is not None and guidance.active else visible_BT,
                    steps=self._static_steps(compile) if compile else None,
                )
        finally:
            self.train(training)
        return Codes(codes_BL, self.layout)

    def _static_steps(self, compile: bool | str) -> StaticSteps:
        backend = 'inductor' if compile is True else str(compile)
        if self.static_steps is None or self.static_steps.backend != backend:
            self.static_steps = StaticSteps(backend)
        return self.static_steps

    def _forget_steps(self) -> None:
        self.static_steps = None

    def _cache_bytes(self) -> int:
        """Of one sequence."""
        numbers = 2 * len(self.blocks) * self.kv_heads * self.head_dim * (self.places - 1)
        return numbers * self.head.weight.element_size()

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """Two blocks of 64 channels for 16 codes; dropout and all other options stay."""
        from .data.codes_dataset import SMOKE_LAYOUT

        kv_heads = None if cfg.get('kv_heads') is None else 1
        return dict(layout=dict(SMOKE_LAYOUT), dim=64, depth=2, heads=2, kv_heads=kv_heads, hidden_multiple=32)


def check_sizes(**sizes: int) -> None:
    """Refuse what is no size."""
    for name, size in sizes.items():
        if size < 1:
            raise UserError(f'LlamaGen: {name} must be 1 or more, got {size}.')


def check_rates(**rates: float) -> None:
    """Refuse shares that leave nothing, and those that are none."""
    for name, rate in rates.items():
        if not 0.0 <= rate < 1.0:
            raise UserError(f'LlamaGen: {name} must lie in [0, 1), got {rate}.')
