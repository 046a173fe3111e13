"""Generators that draw codes one after another and keep the keys and values of what was drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from fvq_core.codes import CodeLayout, Codes
from fvq_core.errors import UserError
from fvq_core.generator import Generator

from .decoding import Pick, StaticSteps, decode, pad_rows
from .layers import CaptionEmbedding, CausalMask, ClassEmbedding, KVCache, RMSNorm, TransformerBlock
from .ops.few_rows import MOST_ROWS, runs_fused
from .ops.projection import guided_logits
from .out_of_memory import memory_advice
from .sampling import Sampler, SequenceGuidance, check_seeds, guide, new_seeds, uniforms


class CachedGenerator(Generator):
    """Condition tokens, then codes, through blocks that attend to what was before. See `decoding.CachedModel`.

    Attributes:
        condition: Maps conditions to tokens.
        blocks: Take `(x_BLD, rotations, mask, causal, cache, layer, position)`, as `layers.TransformerBlock`.
        norm: Norm after the blocks.
        head: Maps features to logits.
        token_dropout: Dropout of condition and code tokens.
        mask: Attention mask of the whole sequence.
        rotations: Rotary table of each position; None without rotary embeddings.
        kv_heads: Heads of keys and values.
        head_dim: Channels of a head.
    """

    @dataclass(frozen=True)
    class Sampling(Sampler, SequenceGuidance):
        """Guidance, and how a code is chosen from its logits."""

    layout: CodeLayout  # pyrefly: ignore[bad-override]
    condition: ClassEmbedding | CaptionEmbedding
    norm: nn.Module
    head: nn.Linear
    token_dropout: nn.Module
    mask: CausalMask
    rotations: Tensor | None
    kv_heads: int
    head_dim: int

    def __init__(self) -> None:
        super().__init__()
        self.static_steps: StaticSteps | None = None

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        super()._apply(fn, recurse)
        self.static_steps = None
        return self

    def embed(self, indices_BL: Tensor, first: int | Tensor = 0) -> Tensor:
        """Codes to tokens (B, L, D); `first` is the number of the first of them in the sequence, or each one's (L,)."""
        raise NotImplementedError

    @property
    def sequence_length(self) -> int:
        """Condition tokens and codes."""
        return self.condition.tokens + self.layout.length

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.head.weight.device

    @property
    def num_classes(self) -> int | None:  # pyrefly: ignore[bad-override]
        return self.condition.num_classes if isinstance(self.condition, ClassEmbedding) else None

    @property
    def caption_shape(self) -> tuple[int, int] | None:  # pyrefly: ignore[bad-override]
        if isinstance(self.condition, ClassEmbedding):
            return None
        return self.condition.tokens, self.condition.caption_dim

    def check_condition(self, cond: Tensor) -> None:
        self.condition.check(cond)

    def logits(self, x: Tensor) -> Tensor:
        """float32 logits (..., V) of normalized features."""
        return self.head(x).float()

    def new_cache(self, batch: int) -> KVCache:
        """Empty memory for that many sequences of condition tokens and codes."""
        # The last code is never read again.
        length, dtype = self.sequence_length - 1, self.head.weight.dtype
        return KVCache(len(self.blocks), batch, self.kv_heads, length, self.head_dim, dtype, self.device)

    def extend(self, x_BLD: Tensor, cache: KVCache, position: int | Tensor, visible_BT: Tensor | None = None) -> Tensor:
        """New tokens behind those in the cache, (B, L, D) to (B, L, D).

        Args:
            x_BLD: The new tokens.
            cache: Keys and values of the earlier ones; takes the new ones.
            position: Position of the first new one, or of each (L,) as a tensor on the device.
            visible_BT: bool, which of all positions may be attended to; None for all.

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

    def prefill(
        self, cond: Tensor, cache: KVCache, visible_BT: Tensor | None = None, scale: float | Tensor | None = None
    ) -> Tensor:
        return self._last_logits(self.token_dropout(self.condition(cond)), cache, 0, visible_BT, scale)

    def step(
        self,
        tokens_B: Tensor,
        cache: KVCache,
        position: int | Tensor,
        visible_BT: Tensor | None = None,
        scale: float | Tensor | None = None,
    ) -> Tensor:
        x_B1D = self.token_dropout(self.embed(tokens_B[:, None], position - self.condition.tokens))
        return self._last_logits(x_B1D, cache, position, visible_BT, scale)

    def _last_logits(
        self,
        x_BLD: Tensor,
        cache: KVCache,
        position: int | Tensor,
        visible_BT: Tensor | None,
        scale: float | Tensor | None,
    ) -> Tensor:
        """Read new tokens; logits of the last, guided if there is a scale."""
        if x_BLD.shape[1] > 1 or not self._steps_fused(len(x_BLD)):
            logits_BV = self.logits(self.extend(x_BLD, cache, position, visible_BT)[:, -1])
            return logits_BV if scale is None else guide(logits_BV, scale)
        if isinstance(position, int):
            cache.check_room(position, 1)
            position = torch.full((1,), position, device=x_BLD.device)
        if isinstance(scale, float):
            scale = torch.full((1,), scale, device=x_BLD.device)
        rotations = None if self.rotations is None else self.rotations[position][0]
        x_BD = x_BLD[:, 0]
        for layer, block in enumerate(self.blocks):
            x_BD = cast(TransformerBlock, block).step(x_BD, rotations, visible_BT, cache, layer, position)
        return guided_logits(x_BD, self.norm.weight, self.norm.eps, self.head.weight, scale)

    def _steps_fused(self, rows: int) -> bool:
        """Whether a step of so many rows runs in the kernels of `ops`, which know these blocks."""
        known = isinstance(self.norm, RMSNorm) and all(type(block) is TransformerBlock for block in self.blocks)
        if self.training or torch.is_grad_enabled() or not known or self.head_dim % 2 or rows > MOST_ROWS:
            return False
        return runs_fused(self.device.type, self.device.index, self.head.weight.dtype)

    def _visible(self, caption_mask_BT: Tensor, batch: int) -> Tensor:
        """Which of all positions may be attended to, bool (B, T): real caption tokens, and every code."""
        name = type(self).__name__
        if not isinstance(self.condition, CaptionEmbedding):
            raise UserError(f'{name}: a caption mask goes with captions, and this model has classes; leave it out.')
        if caption_mask_BT.shape != (batch, self.condition.tokens):
            raise UserError(
                f'{name}: expected a caption mask of {(batch, self.condition.tokens)}, a line for each caption, got '
                f'{tuple(caption_mask_BT.shape)}.'
            )
        codes_BL = caption_mask_BT.new_ones(batch, self.layout.length, dtype=torch.bool)
        return torch.cat([caption_mask_BT.bool(), codes_BL], dim=1)

    def sample(
        self,
        cond: Tensor,
        *,
        rng: torch.Generator | None = None,
        seeds: Sequence[int] | None = None,
        caption_mask_BT: Tensor | None = None,
        compile: bool | str = False,
        pick: Pick | None = None,
        **settings: Any,
    ) -> Codes:
        """Draw codes for each condition; see `Generator.sample`.

        Args:
            cond: Classes (B,) or caption features (B, T, C).
            rng, seeds: See `Generator.sample`.
            caption_mask_BT: bool, True for real caption tokens.
            compile: Compile the steps, and on a GPU record them as CUDA graphs; True, or a backend of `torch.compile`.
                The first batch of a size is slow; a smaller one, such as the last, is filled up to a size that is compiled.
            pick: Chooses tokens in place of `Sampler`.
            settings: Settings of `SequenceGuidance` and `Sampler`.

        Raises:
            UserError: Conditions that the model does not have, guidance of a model that was trained without dropping
                conditions, settings out of range, or too little memory, with a batch that fits.
        """
        name, sampling = type(self).__name__, self.Sampling.of(settings)
        guidance = sampling.part(SequenceGuidance)
        if not isinstance(cond, Tensor):
            raise UserError(f'{name}: conditions are a tensor, got {type(cond).__name__}; use torch.as_tensor.')
        cond = cond.to(self.device)
        self.check_condition(cond)
        cond = cond if cond.is_floating_point() else cond.long()
        if guidance.active and not self.condition.drop_rate:
            raise UserError(
                f'{name}: cfg_scale {guidance.cfg_scale} needs a model that was trained with cond_dropout; this one has 0, and '
                'does not know images without a condition. Use cfg_scale=1.'
            )
        seeds = new_seeds(len(cond), rng) if seeds is None else check_seeds(seeds, len(cond))
        if not len(cond):
            return Codes(torch.empty(0, self.layout.length, dtype=torch.int64, device=self.device), self.layout)
        visible_BT = None if caption_mask_BT is None else self._visible(caption_mask_BT.to(self.device), len(cond))
        copies, count = 2 if guidance.active else 1, len(cond)
        per_image = self._cache_bytes() * copies
        batch = self._static_steps(compile).batch_for(count, copies) if compile else count
        cond, uniforms_BL = pad_rows(cond, batch), pad_rows(uniforms(seeds, self.layout.length), batch)
        visible_BT = None if visible_BT is None else pad_rows(visible_BT, batch).repeat(copies, 1)
        training = self.training
        try:
            self.eval()
            with memory_advice(count, self.device, per_image, self._forget_steps):
                codes_BL = decode(
                    self,
                    torch.cat([cond, self.condition.null(cond)]) if guidance.active else cond,
                    prefix=self.condition.tokens,
                    uniforms_BL=uniforms_BL.to(self.device),
                    pick=pick or sampling.part(Sampler),
                    guidance=guidance,
                    visible_BT=visible_BT,
                    steps=self._static_steps(compile) if compile else None,
                )
        finally:
            self.train(training)
        return Codes(codes_BL[:count], self.layout)

    def _static_steps(self, compile: bool | str) -> StaticSteps:
        backend = 'inductor' if compile is True else str(compile)
        if self.static_steps is None or self.static_steps.backend != backend:
            self.static_steps = StaticSteps(backend)
        return self.static_steps

    def _forget_steps(self) -> None:
        self.static_steps = None

    def _cache_bytes(self) -> int:
        """Bytes of the cache of one sequence."""
        numbers = 2 * len(self.blocks) * self.kv_heads * self.head_dim * (self.sequence_length - 1)
        return numbers * self.head.weight.element_size()
