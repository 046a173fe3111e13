"""VAR (Tian et al., 2024): a transformer that predicts all codes of a scale at once, from the scales before it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from fvq_core.codes import CodeLayout, Targets
from fvq_core.registry import GENERATORS
from fvq_core.registry.argument_types import check_sizes

from .checks import check_rates, codes_to_learn, layout_of
from .cross_entropy import chunked_cross_entropy
from .layers import MLP, AdaLayerNorm, AdaLNBlock, ClassEmbedding, CosineAttention, Modulation, SharedModulation
from .next_scale import NextScaleGenerator, init_scale_weights
from .scale_decoding import NextScaleSampling
from .small_tokenizer import small_tokenizer


@GENERATORS.register_module()
class VAR(NextScaleGenerator):
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
        self.shared_modulation = Modulation(dim) if shared_modulation else None
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
        init_scale_weights(self, init_std, gate_init, modulation_init, head_init)

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

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """Two blocks of 64 channels for four scales; all other options stay."""
        scales = [(side, side) for side in (1, 2, 3, 4)]
        return dict(layout=dict(type='Pyramid', scales=scales, codebook_size=64), code_dim=8, dim=64, depth=2, heads=2)

    @staticmethod
    def smoke_tokenizer() -> dict[str, Any]:
        """A small tokenizer with these codes, for images of 64x64."""
        return small_tokenizer('MultiScaleQuantizer', scales=(1, 2, 3, 4), num_phi=2)
