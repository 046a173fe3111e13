"""VAR (Tian et al., 2024): a transformer that predicts all codes of a scale at once, from the scales before it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fvq_core.codes import CodeLayout, Codes, Latents, Pyramid, Targets
from fvq_core.errors import UserError
from fvq_core.generator import Generator
from fvq_core.quantizer import NextScale, Quantizer
from fvq_core.registry import GENERATORS
from fvq_core.registry.argument_types import check_sizes

from .checks import check_rates, codes_to_learn, images_to_draw, layout_of
from .cross_entropy import chunked_cross_entropy
from .eval_mode import eval_mode
from .layers import (
    MLP,
    AdaLayerNorm,
    AdaLNBlock,
    ClassEmbedding,
    CosineAttention,
    KVCache,
    Modulation,
    SharedModulation,
)
from .out_of_memory import memory_advice
from .sampling import Pick
from .scale_decoding import KnownCodes, NextScaleSampling, draw_scales
from .small_tokenizer import small_tokenizer


@GENERATORS.register_module()
class VAR(Generator):
    """Next-scale prediction: the input at a scale is the sum of the scales before it, at the scale's size.

    The published sizes have 64 channels and one head for each of d blocks: d16, d20, d24, d30, with 310, 601, 1,033 and 2,010 M
    parameters. The sums come from the tokenizer's quantizer; see `Generator.bind`.

    Args:
        layout: `CodeLayout` of a `Pyramid`, or `dict(type='Pyramid', scales=[(1, 1), (2, 2), ...], codebook_size=4096)`.
        code_dim: Channels of the quantizer's codes.
        dim: Channels D.
        depth: Blocks.
        heads: Heads.
        mlp_ratio: Hidden channels of the feed-forward layer, in D.
        cosine: Whether queries and keys are l2-normalised; see `CosineAttention`.
        shared_modulation: One modulation for all blocks, each with an offset of its own, in place of one a block.
        norm_eps: Epsilon of the norms.
        dropout: Dropout of the results of attention and feed-forward layer.
        drop_path: Stochastic depth, from 0 at the first block to this rate at the last; 0.1 d / 24 in the released training.
        num_classes: Classes.
        cond_dropout: Share of the classes that training drops, for classifier-free guidance.
        gate_init: Factor on the start values of the blocks' gates: 1e-3 of d16 and d20, 1e-4 of d24, 1e-5 of d30.
        modulation_init: Factor on those of scales and shifts.
        head_init: Factor on those of the head.
        init_std: Standard deviation of the start values; (3 D)^-1/2 by default.
        checkpointing: Keep only the inputs of the blocks and compute the rest again in the backward pass.
        loss_rows: Rows of logits that the loss has at once; see `chunked_cross_entropy`.

    Raises:
        UserError: A layout that it cannot model, or sizes that do not fit each other.
    """

    Sampling = NextScaleSampling
    position_kinds = (Pyramid,)
    binds_to = NextScale
    inpaints = True
    likelihood = True
    layout: CodeLayout  # pyrefly: ignore[bad-override]

    def __init__(
        self,
        layout: CodeLayout | Mapping[str, Any],
        code_dim: int = 32,
        dim: int = 1024,
        depth: int = 16,
        heads: int = 16,
        mlp_ratio: float = 4.0,
        cosine: bool = True,
        shared_modulation: bool = False,
        norm_eps: float = 1e-6,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        num_classes: int = 1000,
        cond_dropout: float = 0.1,
        gate_init: float = 1e-3,
        modulation_init: float = 0.5,
        head_init: float = 0.02,
        init_std: float | None = None,
        checkpointing: bool = False,
        loss_rows: int | None = None,
    ) -> None:
        super().__init__()
        self.layout = layout_of(self, layout)
        check_sizes('VAR', code_dim=code_dim, dim=dim, depth=depth, heads=heads, num_classes=num_classes)
        check_rates('VAR', dropout=dropout, drop_path=drop_path, cond_dropout=cond_dropout)
        self.code_dim, self.num_classes, self.heads = code_dim, num_classes, heads
        self.checkpointing, self.loss_rows = checkpointing, loss_rows
        norm = partial(nn.LayerNorm, dim, eps=norm_eps, elementwise_affine=False)
        self.condition = ClassEmbedding(num_classes, dim, cond_dropout)
        self.code_embedding = nn.Linear(code_dim, dim)
        self.start = nn.Parameter(torch.empty(self.pyramid.lengths[0], dim))
        self.level_embedding = nn.Parameter(torch.empty(len(self.pyramid.scales), dim))
        self.position_embedding = nn.Parameter(torch.empty(self.layout.length, dim))
        self.shared_modulation: nn.Module | None = Modulation(dim) if shared_modulation else None
        self.blocks = nn.ModuleList(
            AdaLNBlock(
                CosineAttention(dim, heads, cosine, dropout),
                MLP(dim, round(mlp_ratio * dim), dropout),
                norm(),
                norm(),
                SharedModulation(dim) if shared_modulation else Modulation(dim),
                rate,
            )
            for rate in torch.linspace(0, drop_path, depth, device='cpu').tolist()
        )
        self.norm = AdaLayerNorm(norm(), Modulation(dim, 2))
        self.head = nn.Linear(dim, self.layout.vocab_size)
        self._init_weights(init_std or (3 * dim) ** -0.5, gate_init, modulation_init, head_init)

    @torch.no_grad()
    def _init_weights(self, std: float, gate: float, modulation: float, head: float) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.trunc_normal_(module.weight, std=std)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        for parameter in (self.start, self.level_embedding, self.position_embedding):
            nn.init.trunc_normal_(parameter, std=std)
        D = self.head.in_features
        for block in cast(Any, self.blocks):
            for last in (block.attention.out, block.ffn.outer):
                last.weight /= math.sqrt(2 * len(self.blocks))
            own = block.modulation
            parts_6DX = (own.offset_PD if self.shared_modulation else own.linear.weight).view(6, D, -1)
            parts_6DX[:2] *= gate
            parts_6DX[2:] *= modulation
        cast(Any, self.norm.modulation).linear.weight *= modulation
        self.head.weight *= head

    @property
    def pyramid(self) -> Pyramid:
        """The scales."""
        return cast(Pyramid, self.layout.positions)

    def bind(self, quantizer: Quantizer) -> None:
        if quantizer.code_dim != self.code_dim:
            raise UserError(
                f'VAR reads sums of {self.code_dim} channels, this {type(quantizer).__name__} has codes of '
                f'{quantizer.code_dim}; set model.generator.code_dim to {quantizer.code_dim}, or use another tokenizer.'
            )
        super().bind(quantizer)

    def check_condition(self, cond: Tensor) -> None:
        self.condition.check(cond)

    def tokens(self, inputs_BLC: Tensor, cond_B1D: Tensor, first_scale: int = 0) -> Tensor:
        """What the blocks read, (B, L, D), of the scales from `first_scale` on.

        Args:
            inputs_BLC: Sums of earlier scales at each scale's size, in the order of the codes; none for scale 0.
            cond_B1D: Embedded conditions, with which scale 0 starts.
            first_scale: Number of the first scale.
        """
        x_BLD = self.code_embedding(inputs_BLC.to(self.head.weight.dtype))
        if first_scale == 0:
            x_BLD = torch.cat([cond_B1D + self.start, x_BLD], 1)
        lengths = self.pyramid.lengths
        first, L = sum(lengths[:first_scale]), x_BLD.shape[1]
        levels = zip(self.level_embedding, lengths, strict=True)
        levels_LD = torch.cat([level.expand(length, -1) for level, length in levels])
        return x_BLD + (levels_LD + self.position_embedding)[first : first + L]

    def features(self, inputs_BLC: Tensor, cond: Tensor) -> Tensor:
        """What the head reads, (B, L, D).

        Args:
            inputs_BLC: The quantizer's `prefix_inputs` (B, L - L_1, C).
            cond: Classes (B,).
        """
        cond_B1D = self.condition(cond)
        x_BLD = self.tokens(inputs_BLC, cond_B1D)
        modulated = cond_B1D if self.shared_modulation is None else self.shared_modulation(cond_B1D)
        for block in self.blocks:
            if self.checkpointing and torch.is_grad_enabled():
                x_BLD = checkpoint(block, x_BLD, modulated, self.pyramid.lengths, use_reentrant=False)
            else:
                x_BLD = block(x_BLD, modulated, self.pyramid.lengths)
        return self.norm(x_BLD, cond_B1D)

    def logits(self, features: Tensor) -> Tensor:
        """float32 logits (..., V)."""
        return self.head(features).float()

    def loss(self, targets: Targets, cond: Tensor) -> dict[str, Tensor]:
        """`cross_entropy` of the codes in nats, each from the scales before its own.

        Raises:
            UserError: See `checks.codes_to_learn`; or it is bound to no quantizer.
        """
        codes = codes_to_learn(self, targets, cond)
        with torch.no_grad():
            inputs_BLC = self.quantizer.prefix_inputs(codes)
        x_ND, indices_N = self.features(inputs_BLC, cond).flatten(0, 1), codes.indices_BL.flatten()
        weight, bias = self.head.weight, self.head.bias
        return {'cross_entropy': chunked_cross_entropy(x_ND, weight, indices_N, rows=self.loss_rows, bias_V=bias)}

    def new_cache(self, batch: int) -> KVCache:
        """Empty memory for that many images."""
        weight = self.head.weight
        head_dim = weight.shape[1] // self.heads
        return KVCache(len(self.blocks), batch, self.heads, self.layout.length, head_dim, weight.dtype, weight.device)

    def sample(
        self,
        cond: Tensor,
        *,
        rng: torch.Generator | None = None,
        seeds: Sequence[int] | None = None,
        given: Codes | None = None,
        keep_BL: Tensor | None = None,
        pick: Pick | None = None,
        **settings: Any,
    ) -> Codes | Latents:
        """Draw codes for each class; see `Generator.sample`. With `more_smooth`, latents, for mixtures have no codes.

        Args:
            cond: Classes (B,).
            rng, seeds: See `Generator.sample`.
            given, keep_BL: Codes of images, and which of them to keep, bool (B, L): those of the first scales (partial
                sampling), or of all scales outside a region (in-painting, and editing with another class).
            pick: Chooses tokens in place of `Sampler`.
            settings: Settings of `NextScaleSampling`.

        Raises:
            UserError: Classes that the model does not have, guidance of a model that was trained without dropping classes,
                settings out of range, or too little memory, with a batch that fits.
        """
        sampling, weight = cast(NextScaleSampling, self.Sampling.of(settings)), self.head.weight
        drop_rate = self.condition.drop_rate
        cond, seeds = images_to_draw(self, cond, rng, seeds, sampling.cfg_scale, drop_rate, given, keep_BL)
        quantizer = self.quantizer
        if not len(cond):
            return Codes(torch.empty(0, self.layout.length, dtype=torch.int64, device=weight.device), self.layout)
        known = None
        if given is not None and keep_BL is not None:
            known = KnownCodes(Codes(given.indices_BL.to(weight.device), given.layout), keep_BL, self.pyramid.lengths)
        numbers = 2 * len(self.blocks) * weight.shape[1] * self.layout.length * (2 if sampling.active else 1)
        with eval_mode(self), memory_advice(len(cond), weight.device, numbers * weight.element_size()):
            return draw_scales(self, quantizer, cond, seeds, sampling, known, pick)

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """Two blocks of 64 channels for four scales; all other options stay."""
        scales = [(side, side) for side in (1, 2, 3, 4)]
        return dict(layout=dict(type='Pyramid', scales=scales, codebook_size=64), code_dim=8, dim=64, depth=2, heads=2)

    @staticmethod
    def smoke_tokenizer() -> dict[str, Any]:
        """A small tokenizer with these codes, for images of 64x64."""
        return small_tokenizer('MultiScaleQuantizer', scales=(1, 2, 3, 4), num_phi=2)
