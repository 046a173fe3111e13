"""Infinity (Han et al., 2025, arXiv 2412.04431): next-scale prediction that classifies each bit of a code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from fvq_core.autoencoder import Autoencoder
from fvq_core.codes import CodeLayout, Targets
from fvq_core.errors import UserError
from fvq_core.images import device_images
from fvq_core.registry import GENERATORS
from fvq_core.registry.argument_types import check_sizes

from .checks import check_rates, codes_to_learn, layout_of
from .cross_entropy import bits_cross_entropy
from .layers import (
    MLP,
    AdaLayerNorm,
    AdaLNBlock,
    ClassEmbedding,
    CosineAttention,
    CrossAttention,
    CrossAttentionBlock,
    Modulation,
    SharedModulation,
    Text,
    TextEmbedding,
)
from .layers.rotary_embedding import pyramid_rotations
from .next_scale import NextScaleGenerator, init_scale_weights
from .scale_decoding import ScaleSampling
from .self_correction import BitScales, self_corrected
from .small_tokenizer import small_tokenizer


@GENERATORS.register_module()
class Infinity(NextScaleGenerator):
    """A VAR on the bits of a multi-scale BSQ: d choices of two in place of one of 2^d, and training that corrects mistakes.

    Beside the head it has two-dimensional rotary positions in place of learned ones, and one modulation that all blocks share.
    With `caption_dim` it is the release: features of a text are pooled to what modulates the blocks and starts the first scale,
    and each block attends to them. Without, classes do that, as in VAR, and nothing is attended to. The published sizes
    (depth x dim, heads), counted with texts: 125M 12 x 768, 8; 2B 32 x 2048, 16.

    In training the tokenizer's bits are flipped at random, and what flipped bits have left of the latent is quantized again
    (`self_corrected`). That needs the latents, which images have; of codes from a store, the sum of an image's codes stands
    for its latent.

    Args:
        layout: `CodeLayout` of a `Pyramid` with a slot for each bit, or `dict(type='Pyramid', scales=[(1, 1), (2, 2), ...],
            codebook_size=[2] * 32)`: of a `MultiScaleQuantizer` around `BSQ(bit_labels=True)`.
        dim: Channels D.
        depth: Blocks.
        heads: Heads; their channels are a multiple of 4.
        mlp_ratio: Hidden channels of the feed-forward layer, in D.
        shared_modulation: One modulation for all blocks, each with an offset of its own, in place of one a block.
        rotary_grid: (height, width) of the grid over which the positions of every scale are spread; by default that of the
            finest scale. The release has that of its models of 1024 pixels, (64, 64), at every size.
        flips: The largest share of bits that training flips, 0 to below 1; 0.3 in the release.
        weigh_scales: In training, weigh each position by the inverse root of its scale's size, as in the released script.
            Validation weighs all bits alike, so that its loss is a likelihood.
        norm_eps: Epsilon of the norms.
        dropout: Dropout of the results of attention and feed-forward layer.
        drop_path: Stochastic depth, from 0 at the first block to this rate at the last.
        num_classes: Classes; not used with captions.
        caption_dim: Channels of caption features: makes a text-to-image model.
        caption_tokens: Feature vectors of a caption.
        pool_heads: Heads of the attention that pools a text; see `TextEmbedding`.
        cond_dropout: Share of the conditions that training drops, for classifier-free guidance.
        gate_init: Factor on the start values of the blocks' gates.
        modulation_init: Factor on those of scales and shifts.
        head_init: Factor on those of the head.
        init_std: Standard deviation of the start values; (3 D)^-1/2 by default.
        checkpointing: Keep only the inputs of the blocks and compute the rest again in the backward pass.

    Raises:
        UserError: A layout that it cannot model, or sizes that do not fit each other.
    """

    Sampling = ScaleSampling
    binds_to = BitScales
    takes_slots = True

    def __init__(
        self,
        layout: CodeLayout | Mapping[str, Any],
        dim: int = 768,
        depth: int = 12,
        heads: int = 8,
        mlp_ratio: float = 4.0,
        shared_modulation: bool = True,
        rotary_grid: Sequence[int] | None = None,
        flips: float = 0.3,
        weigh_scales: bool = True,
        norm_eps: float = 1e-6,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        num_classes: int = 1000,
        caption_dim: int | None = None,
        caption_tokens: int = 512,
        pool_heads: int | None = None,
        cond_dropout: float = 0.1,
        gate_init: float = 5e-6,
        modulation_init: float = 1e-3,
        head_init: float = 0.02,
        init_std: float | None = None,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.layout = layout_of(self, layout)
        if set(self.layout.vocabularies) != {2}:
            raise UserError(
                f'Infinity: predicts bits, got {self.layout}; use a tokenizer with a label for each bit, BSQ(bit_labels=True).'
            )
        height, width = self.pyramid.scales[-1] if rotary_grid is None else rotary_grid
        check_sizes('Infinity', dim=dim, depth=depth, heads=heads, num_classes=num_classes, height=height, width=width)
        check_rates('Infinity', dropout=dropout, drop_path=drop_path, cond_dropout=cond_dropout, flips=flips)
        self.code_dim, self.heads = self.layout.slots, heads
        self.num_classes = num_classes if caption_dim is None else None  # pyrefly: ignore[bad-override]
        self.rotary_grid, self.flips, self.weigh_scales = (height, width), flips, weigh_scales
        self.checkpointing = checkpointing
        norm = partial(nn.LayerNorm, dim, eps=norm_eps, elementwise_affine=False)
        if caption_dim is None:
            self.condition = ClassEmbedding(num_classes, dim, cond_dropout)
        else:
            self.condition = TextEmbedding(caption_dim, dim, caption_tokens, cond_dropout, norm_eps, pool_heads)
        self.code_embedding = nn.Linear(self.code_dim, dim)
        self.start = nn.Parameter(torch.empty(self.pyramid.lengths[0], dim))
        self.level_embedding = nn.Parameter(torch.empty(len(self.pyramid.scales), dim))
        self.position_embedding = None
        self.shared_modulation = Modulation(dim) if shared_modulation else None
        self.blocks = nn.ModuleList()
        for rate in torch.linspace(0, drop_path, depth, device='cpu').tolist():
            parts = (
                CosineAttention(dim, heads, dropout=dropout),
                MLP(dim, round(mlp_ratio * dim), dropout),
                norm(),
                norm(),
                SharedModulation(dim) if shared_modulation else Modulation(dim),
                rate,
            )
            if caption_dim is None:
                self.blocks.append(AdaLNBlock(*parts))
            else:
                cross = CrossAttention(dim, heads, dropout=dropout)
                self.blocks.append(CrossAttentionBlock(nn.LayerNorm(dim, norm_eps), cross, *parts))
        self.norm = AdaLayerNorm(norm(), Modulation(dim, 2))
        self.head = nn.Linear(dim, 2 * self.code_dim)
        self._make_table()
        init_scale_weights(self, init_std, gate_init, modulation_init, head_init)

    def _make_table(self) -> None:
        """The rotary table, on the weights' device; it follows from the layout and is not saved."""
        with torch.device(self.head.weight.device):
            self.rotations = pyramid_rotations(self.pyramid, self.head.in_features // self.heads, *self.rotary_grid)

    def _apply(self, fn: Any, recurse: bool = True) -> Infinity:
        super()._apply(fn, recurse)
        self._make_table()
        return self

    @property
    def caption_shape(self) -> tuple[int, int] | None:  # pyrefly: ignore[bad-override]
        if isinstance(self.condition, TextEmbedding):
            return self.condition.tokens, self.condition.caption_dim
        return None

    def conditions(
        self, cond: Tensor, caption_mask_BT: Tensor | None = None, guided: bool = False
    ) -> tuple[Tensor, Text | None]:
        if not isinstance(self.condition, TextEmbedding):
            return super().conditions(cond, caption_mask_BT, guided)
        mask_BT = self.condition.check_mask(caption_mask_BT, len(cond), 'Infinity')
        mask_BT = None if mask_BT is None else mask_BT.to(self.head.weight.device)
        if guided:
            cond = torch.cat([cond, self.condition.null(cond, mask_BT)])
            mask_BT = None if mask_BT is None else mask_BT.repeat(2, 1)
        return self.condition(cond, mask_BT)

    def logits(self, features: Tensor) -> Tensor:
        """float32 logits of both values of each bit, (..., bits, 2)."""
        return self.head(features).float().unflatten(-1, (-1, 2))

    @torch.no_grad()
    def targets(self, batch: Mapping[str, Any], autoencoder: Autoencoder | None = None) -> Targets:
        """See `Generator.targets`; of images in training the latents too, for self-correction."""
        if not (self.training and self.flips) or 'codes' in batch or 'images' not in batch or autoencoder is None:
            return super().targets(batch, autoencoder)
        latents = autoencoder.latents(device_images(batch, self.head.weight.device))
        return Targets(autoencoder.require_quantizer('Infinity')(latents.values).codes, latents=latents)

    def loss(  # pyrefly: ignore[bad-override]
        self, targets: Targets, cond: Tensor, caption_mask_BT: Tensor | None = None, valid_B: Tensor | None = None
    ) -> dict[str, Tensor]:
        """`cross_entropy` of a bit in nats; in eval mode without flips and weights, the mean negative log-likelihood.

        Args:
            targets: Codes of this model's layout, in training with their latents or not.
            cond: Classes (B,), or caption features (B, T, C).
            caption_mask_BT: See `features`.
            valid_B: Weight of each image, such as 0 for one whose caption could not be read; the loss is a weighted mean.

        Raises:
            UserError: See `checks.codes_to_learn`; or it is bound to no quantizer.
        """
        codes, weights_N = codes_to_learn(self, targets, cond), None
        with torch.no_grad():
            if self.training and self.flips:
                z_BDHW = self.quantizer.embed(codes) if targets.latents is None else targets.latents.values
                bits_BL, inputs_BLC = self_corrected(self.quantizer, z_BDHW, self.pyramid, self.flips)
            else:
                bits_BL, inputs_BLC = codes.indices_BL, self.quantizer.prefix_inputs(codes)
        x_BLD = self.features(inputs_BLC, cond, caption_mask_BT)
        if self.training and self.weigh_scales:
            lengths = torch.tensor(self.pyramid.lengths, device=x_BLD.device)
            weights_N = (
                lengths.float().rsqrt().repeat_interleave(lengths, output_size=x_BLD.shape[1]).repeat(len(x_BLD))
            )
        if valid_B is not None:
            valid_N = valid_B.repeat_interleave(x_BLD.shape[1])
            weights_N = valid_N if weights_N is None else weights_N * valid_N
        bits_NS = bits_BL.reshape(-1, self.code_dim)
        return {'cross_entropy': bits_cross_entropy(self.logits(x_BLD.flatten(0, 1)), bits_NS, weights_N)}

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """Two blocks of 64 channels for four scales of 8 bits; all other options stay."""
        scales = [(side, side) for side in (1, 2, 3, 4)]
        return dict(layout=dict(type='Pyramid', scales=scales, codebook_size=[2] * 8), dim=64, depth=2, heads=2)

    @staticmethod
    def smoke_tokenizer() -> dict[str, Any]:
        """A small tokenizer with these codes, for images of 64x64."""
        bits = dict(type='BSQ', codebook_size=2**8, bit_labels=True)
        interpolated = dict(phi_ratio=0.0, interpolation='bilinear', inputs='bilinear')
        return small_tokenizer('MultiScaleQuantizer', codes=bits, scales=(1, 2, 3, 4), **interpolated)
