"""Generators that draw codes one after another and keep the keys and values of what was drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from fvq_core.codes import Codes
from fvq_core.sampling_settings import SamplingSettings

from .autoregressive import AutoregressiveGenerator
from .checks import images_to_draw
from .decoding import decode, pad_rows
from .eval_mode import eval_mode
from .layers import KVCache, RMSNorm, TransformerBlock
from .ops.few_rows import MOST_ROWS, runs_fused
from .ops.projection import guided_logits
from .out_of_memory import memory_advice
from .sampling import Pick, Sampler, SequenceGuidance, guide, uniforms
from .small_tokenizer import small_tokenizer


class CachedGenerator(AutoregressiveGenerator):
    """Draws codes with a cache, in steps that can be compiled. See `decoding.CachedModel`.

    Attributes:
        kv_heads: Heads of keys and values.
        head_dim: Channels of a head.
        kept: Rows and channels of what a cache keeps beside keys and values; see `KVCache`.
    """

    @dataclass(frozen=True)
    class Sampling(Sampler, SequenceGuidance):
        """Guidance, and how a code is chosen from its logits."""

    inpaints = True
    kv_heads: int
    head_dim: int
    kept: tuple[int, int] = (0, 0)

    def new_cache(self, batch: int) -> KVCache:
        """Empty memory for that many sequences of condition tokens and codes."""
        # The last code is never read again.
        length, dtype = self.sequence_length - 1, self.head.weight.dtype
        return KVCache(len(self.blocks), batch, self.kv_heads, length, self.head_dim, dtype, self.device, self.kept)

    def extend(
        self,
        x_BLD: Tensor,
        cache: KVCache,
        position: int | Tensor,
        visible_BT: Tensor | None = None,
        context: Tensor | None = None,
    ) -> Tensor:
        """New tokens behind those in the cache, (B, L, D) to (B, L, D).

        Args:
            x_BLD: The new tokens.
            cache: Keys and values of the earlier ones; takes the new ones.
            position: Position of the first new one, or of each (L,) as a tensor on the device.
            visible_BT: bool, which of all positions may be attended to; None for all.
            context: See `transform`.

        Raises:
            UserError: The cache is too short.
        """
        L = x_BLD.shape[1]
        mask, rotations = None, None
        if isinstance(position, int):
            cache.check_room(position, L)
            if visible_BT is not None or (L > 1 and (position or not self.mask.causal)):
                mask = self.mask.block(position, L, visible_BT)
            if self.rotations is not None:
                rotations = self.rotations[position : position + L]
        else:
            mask = self.mask.rows(position, cache.length, visible_BT)
            if self.rotations is not None:
                rotations = self.rotations[position]
        return self.transform(x_BLD, rotations, mask, mask is None and L > 1, cache, position, context)

    def prefill(
        self,
        cond: Tensor,
        cache: KVCache,
        visible_BT: Tensor | None = None,
        scale: float | Tensor | None = None,
        known_BL: Tensor | None = None,
    ) -> Tensor:
        cond_BTD = self.condition_tokens(cond)
        x_BLD = cond_BTD if known_BL is None else torch.cat([cond_BTD, self.embed(known_BL)], dim=1)
        return self._last_logits(self.token_dropout(x_BLD), cache, 0, visible_BT, scale, self.context(cond_BTD))

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
        context: Tensor | None = None,
    ) -> Tensor:
        """Read new tokens; logits of the last, guided if there is a scale."""
        if x_BLD.shape[1] > 1 or not self._steps_fused(len(x_BLD)):
            logits_BV = self.logits(self.extend(x_BLD, cache, position, visible_BT, context)[:, -1])
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

    def sample(
        self,
        cond: Tensor,
        *,
        rng: torch.Generator | None = None,
        seeds: Sequence[int] | None = None,
        caption_mask_BT: Tensor | None = None,
        given: Codes | None = None,
        keep_BL: Tensor | None = None,
        compile: bool | str = False,
        pick: Pick | None = None,
        **settings: Any,
    ) -> Codes:
        """Draw codes for each condition; see `Generator.sample`.

        Args:
            cond: Classes (B,) or caption features (B, T, C).
            rng, seeds: See `Generator.sample`.
            caption_mask_BT: bool, True for real caption tokens.
            given, keep_BL: See `Generator.check_given`. A code is drawn from the kept and drawn ones before it.
            compile: Compile the steps, and on a GPU record them as CUDA graphs; True, or a backend of `torch.compile`.
                The first batch of a size is slow; a smaller one, such as the last, is filled up to a size that is compiled.
            pick: Chooses tokens in place of `Sampler`.
            settings: Fields of `Sampling`: those of `Sampler`, and of `SequenceGuidance` if it can be guided.

        Raises:
            UserError: Conditions that the model does not have, guidance of a model that was trained without dropping
                conditions, settings out of range, or too little memory, with a batch that fits.
        """
        sampling = self.Sampling.of(settings)
        guidance = self.guidance_of(sampling)
        drop_rate = self.condition.drop_rate
        cond, seeds = images_to_draw(self, cond, rng, seeds, guidance.cfg_scale, drop_rate, given, keep_BL)
        if not len(cond):
            return Codes(torch.empty(0, self.layout.length, dtype=torch.int64, device=self.device), self.layout)
        visible_BT = None if caption_mask_BT is None else self.visible(caption_mask_BT.to(self.device), len(cond))
        copies, count = 2 if guidance.active else 1, len(cond)
        per_image = self._cache_bytes() * copies
        steps = self.compiled_steps(compile)
        batch = count if steps is None else steps.batch_for(count, copies)
        cond, uniforms_BL = pad_rows(cond, batch), pad_rows(self.uniforms(seeds), batch)
        visible_BT = None if visible_BT is None else pad_rows(visible_BT, batch).repeat(copies, 1)
        given_BL = None if given is None else pad_rows(given.indices_BL.to(self.device), batch)
        keep_BL = None if keep_BL is None else pad_rows(keep_BL.to(self.device), batch)
        with eval_mode(self), memory_advice(count, self.device, per_image, self.forget_steps):
            codes_BL = decode(
                self,
                torch.cat([cond, self.condition.null(cond)]) if guidance.active else cond,
                prefix=self.condition.tokens,
                uniforms_BL=uniforms_BL.to(self.device),
                pick=pick or self.picker(sampling),
                guidance=guidance,
                visible_BT=visible_BT,
                steps=steps,
                given_BL=given_BL,
                keep_BL=keep_BL,
            )
        return Codes(codes_BL[:count], self.layout)

    def guidance_of(self, sampling: SamplingSettings) -> SequenceGuidance:
        """How each code is guided; not at all by default if there are no such settings."""
        return sampling.part(SequenceGuidance) if isinstance(sampling, SequenceGuidance) else SequenceGuidance()

    def uniforms(self, seeds: Sequence[int]) -> Tensor:
        """The numbers in [0, 1) that decide the codes of each sample, (B, L, ...)."""
        return uniforms(seeds, self.layout.length)

    def picker(self, sampling: SamplingSettings) -> Pick:
        """What chooses a code from its logits."""
        return sampling.part(Sampler)

    def _cache_bytes(self) -> int:
        """Bytes of the cache of one sequence."""
        rows, channels = self.kept
        numbers = 2 * len(self.blocks) * self.kv_heads * self.head_dim * (self.sequence_length - 1) + rows * channels
        return numbers * self.head.weight.element_size()

    @staticmethod
    def smoke_tokenizer() -> dict[str, Any]:
        """A small tokenizer with the codes of smoke runs, for images of 64x64."""
        return small_tokenizer()
