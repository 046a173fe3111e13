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
from .layers import MLP, AdaLayerNorm, AdaLNBlock, ClassEmbedding, CosineAttention, Modulation, SharedModulation
from .layers.rotary_embedding import pyramid_rotations
from .next_scale import NextScaleGenerator, init_scale_weights
from .scale_decoding import ScaleSampling
from .self_correction import BitScales, self_corrected
from .small_tokenizer import small_tokenizer


@GENERATORS.register_module()
class Infinity(NextScaleGenerator):
    """A VAR on the bits of a multi-scale BSQ: d choices of two in place of one of 2^d, and training that corrects mistakes.

    Beside the head it has two-dimensional rotary positions in place of learned ones, and one modulation that all blocks share.
    The release is conditioned on text by cross-attention; this one on classes, as VAR is.

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
        num_classes: Classes.
        cond_dropout: Share of the classes that training drops, for classifier-free guidance.
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
        self.code_dim, self.num_classes, self.heads = self.layout.slots, num_classes, heads
        self.rotary_grid, self.flips, self.weigh_scales = (height, width), flips, weigh_scales
        self.checkpointing = checkpointing
        norm = partial(nn.LayerNorm, dim, eps=norm_eps, elementwise_affine=False)
        self.condition = ClassEmbedding(num_classes, dim, cond_dropout)
        self.code_embedding = nn.Linear(self.code_dim, dim)
        self.start = nn.Parameter(torch.empty(self.pyramid.lengths[0], dim))
        self.level_embedding = nn.Parameter(torch.empty(len(self.pyramid.scales), dim))
        self.position_embedding = None
        self.shared_modulation = Modulation(dim) if shared_modulation else None
        self.blocks = nn.ModuleList(
            AdaLNBlock(
                CosineAttention(dim, heads, dropout=dropout),
                MLP(dim, round(mlp_ratio * dim), dropout),
                norm(),
                norm(),
                SharedModulation(dim) if shared_modulation else Modulation(dim),
                rate,
            )
            for rate in torch.linspace(0, drop_path, depth, device='cpu').tolist()
        )
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

    def loss(self, targets: Targets, cond: Tensor) -> dict[str, Tensor]:
        """`cross_entropy` of a bit in nats; in eval mode without flips and weights, the mean negative log-likelihood.

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
        x_BLD = self.features(inputs_BLC, cond)
        if self.training and self.weigh_scales:
            lengths = torch.tensor(self.pyramid.lengths, device=x_BLD.device)
            weights_N = (
                lengths.float().rsqrt().repeat_interleave(lengths, output_size=x_BLD.shape[1]).repeat(len(x_BLD))
            )
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
