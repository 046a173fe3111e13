"""What generators of scales share (VAR, Infinity): all codes of a scale at once, from the sum of the scales before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fvq_core.codes import CodeLayout, Codes, Latents, Pyramid
from fvq_core.errors import UserError
from fvq_core.generator import Generator
from fvq_core.quantizer import NextScale, Quantizer

from .checks import images_to_draw
from .eval_mode import eval_mode
from .layers import AdaLayerNorm, ClassEmbedding, CrossAttentionBlock, KVCache, Text, TextEmbedding
from .out_of_memory import memory_advice
from .sampling import Pick
from .scale_decoding import KnownCodes, ScaleSampling, draw_scales


class NextScaleGenerator(Generator):
    """A class and the running sums of a tokenizer's scales, through blocks that attend to the scale and those before it.

    Attributes:
        code_dim: Channels of the sums.
        heads: Heads of a block.
        condition: Classes or texts to the vector that modulates all blocks, and with which the first scale starts.
        code_embedding: Sums to tokens.
        start: Added to the condition, (positions of the first scale, D).
        level_embedding: Added to each scale, (scales, D).
        position_embedding: Added to each position, (positions, D); None for none.
        rotations: Rotary table of each position; None for none.
        shared_modulation: One modulation for all blocks; None if each has its own.
        blocks: `AdaLNBlock`s with `CosineAttention`; those of texts are `CrossAttentionBlock`s.
        norm, head: After the blocks.
        checkpointing: Keep only the inputs of the blocks and compute the rest again in the backward pass.
    """

    position_kinds = (Pyramid,)
    binds_to = NextScale
    inpaints = True
    likelihood = True
    layout: CodeLayout  # pyrefly: ignore[bad-override]
    code_dim: int
    heads: int
    condition: ClassEmbedding | TextEmbedding
    code_embedding: nn.Linear
    start: nn.Parameter
    level_embedding: nn.Parameter
    position_embedding: nn.Parameter | None
    rotations: Tensor | None = None
    shared_modulation: nn.Module | None
    norm: AdaLayerNorm
    head: nn.Linear
    checkpointing: bool = False

    @property
    def pyramid(self) -> Pyramid:
        """The scales."""
        return cast(Pyramid, self.layout.positions)

    def bind(self, quantizer: Quantizer) -> None:
        if quantizer.code_dim != self.code_dim:
            raise UserError(
                f'{type(self).__name__} reads sums of {self.code_dim} channels, this {type(quantizer).__name__} has codes of '
                f'{quantizer.code_dim}; set model.generator.code_dim to {quantizer.code_dim}, or use another tokenizer.'
            )
        super().bind(quantizer)

    def check_condition(self, cond: Tensor) -> None:
        self.condition.check(cond)

    def tokens(self, inputs_BLC: Tensor, cond_B1D: Tensor, first_scale: int = 0) -> Tensor:
        """What the blocks read, (B, L, D), of the scales from `first_scale` on.

        Args:
            inputs_BLC: Sums of earlier scales at each scale's size, in the order of the positions; none for scale 0.
            cond_B1D: Embedded conditions, with which scale 0 starts.
            first_scale: Number of the first scale.
        """
        x_BLD = self.code_embedding(inputs_BLC.to(self.head.weight.dtype))
        if first_scale == 0:
            x_BLD = torch.cat([cond_B1D + self.start, x_BLD], 1)
        lengths = self.pyramid.lengths
        first, L = sum(lengths[:first_scale]), x_BLD.shape[1]
        levels = zip(self.level_embedding, lengths, strict=True)
        added_LD = torch.cat([level.expand(length, -1) for level, length in levels])
        if self.position_embedding is not None:
            added_LD = added_LD + self.position_embedding
        return x_BLD + added_LD[first : first + L]

    def conditions(
        self, cond: Tensor, caption_mask_BT: Tensor | None = None, guided: bool = False
    ) -> tuple[Tensor, Text | None]:
        """Embedded conditions (B, 1, D), and what the blocks read of a text; with guidance those of none behind them.

        Raises:
            UserError: A caption mask, which goes with captions.
        """
        if caption_mask_BT is not None:
            name = type(self).__name__
            raise UserError(f'{name}: a caption mask goes with captions, and this model has classes; leave it out.')
        return self.condition(torch.cat([cond, self.condition.null(cond)]) if guided else cond), None

    def features(self, inputs_BLC: Tensor, cond: Tensor, caption_mask_BT: Tensor | None = None) -> Tensor:
        """What the head reads, (B, L, D).

        Args:
            inputs_BLC: The quantizer's `prefix_inputs` (B, L - L_1, C).
            cond: Classes (B,), or caption features (B, T, C).
            caption_mask_BT: bool, True for real caption tokens, False for padding.
        """
        cond_B1D, text = self.conditions(cond, caption_mask_BT)
        x_BLD = self.tokens(inputs_BLC, cond_B1D)
        modulated = cond_B1D if self.shared_modulation is None else self.shared_modulation(cond_B1D)
        arguments: tuple[Any, ...] = (modulated, self.pyramid.lengths, None, 0, 0, self.rotations)
        arguments += () if text is None else (text,)
        for block in self.blocks:
            if self.checkpointing and torch.is_grad_enabled():
                x_BLD = checkpoint(block, x_BLD, *arguments, use_reentrant=False)
            else:
                x_BLD = block(x_BLD, *arguments)
        return self.norm(x_BLD, cond_B1D)

    def logits(self, features: Tensor) -> Tensor:
        """float32 logits of each code, (..., V), or (..., slots, V) if a position has several."""
        raise NotImplementedError

    def new_cache(self, batch: int) -> KVCache:
        """Empty memory for that many images."""
        weight = self.head.weight
        D, L = weight.shape[1], self.pyramid.length
        return KVCache(len(self.blocks), batch, self.heads, L, D // self.heads, weight.dtype, weight.device)

    def sample(
        self,
        cond: Tensor,
        *,
        rng: torch.Generator | None = None,
        seeds: Sequence[int] | None = None,
        caption_mask_BT: Tensor | None = None,
        given: Codes | None = None,
        keep_BL: Tensor | None = None,
        pick: Pick | None = None,
        **settings: Any,
    ) -> Codes | Latents:
        """Draw codes for each class; see `Generator.sample`. With `more_smooth`, latents, for mixtures have no codes.

        Args:
            cond: Classes (B,), or caption features (B, T, C).
            rng, seeds: See `Generator.sample`.
            caption_mask_BT: bool, True for real caption tokens.
            given, keep_BL: Codes of images, and which of them to keep, bool (B, L): those of the first scales (partial
                sampling), or of all scales outside a region (in-painting, and editing with another class).
            pick: Chooses tokens in place of `Sampler`.
            settings: Settings of `Sampling`.

        Raises:
            UserError: Classes that the model does not have, guidance of a model that was trained without dropping classes,
                settings out of range, or too little memory, with a batch that fits.
        """
        sampling, weight = cast(ScaleSampling, self.Sampling.of(settings)), self.head.weight
        drop_rate = self.condition.drop_rate
        cond, seeds = images_to_draw(self, cond, rng, seeds, sampling.cfg_scale, drop_rate, given, keep_BL)
        quantizer = self.quantizer
        if not len(cond):
            return Codes(torch.empty(0, self.layout.length, dtype=torch.int64, device=weight.device), self.layout)
        known = None
        if given is not None and keep_BL is not None:
            known = KnownCodes(Codes(given.indices_BL.to(weight.device), given.layout), keep_BL)
        positions = self.pyramid.length + (self.caption_shape[0] if self.caption_shape else 0)
        numbers = 2 * len(self.blocks) * weight.shape[1] * positions * (2 if sampling.active else 1)
        with eval_mode(self), memory_advice(len(cond), weight.device, numbers * weight.element_size()):
            return draw_scales(self, quantizer, cond, seeds, sampling, known, pick, caption_mask_BT)


@torch.no_grad()
def init_scale_weights(
    model: NextScaleGenerator, std: float | None, gate: float, modulation: float, head: float
) -> None:
    """The start values of VAR's and Infinity's releases.

    Args:
        model: Whose blocks have an `MLP`, and a `Modulation` or a `SharedModulation`.
        std: Standard deviation of the start values; (3 D)^-1/2 by default.
        gate: Factor on those of the blocks' gates.
        modulation: Factor on those of scales and shifts.
        head: Factor on those of the head.
    """
    D = model.head.in_features
    std = std or (3 * D) ** -0.5
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.trunc_normal_(module.weight, std=std)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
    for parameter in (model.start, model.level_embedding, model.position_embedding):
        if parameter is not None:
            nn.init.trunc_normal_(parameter, std=std)
    for block in cast(Any, model.blocks):
        lasts = [block.attention.out, block.ffn.outer]
        lasts += [block.cross_attention.out] if isinstance(block, CrossAttentionBlock) else []
        for last in lasts:
            last.weight /= (2 * len(model.blocks)) ** 0.5
        own = block.modulation
        parts_6DX = (own.linear.weight if model.shared_modulation is None else own.offset_PD).view(6, D, -1)
        parts_6DX[:2] *= gate
        parts_6DX[2:] *= modulation
    cast(Any, model.norm.modulation).linear.weight *= modulation
    model.head.weight *= head
