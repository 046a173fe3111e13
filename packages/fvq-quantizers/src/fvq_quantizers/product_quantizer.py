"""Product (multi-head) quantization: groups of channels, each with a code of its own (UniTok, MoVQ, XQ-GAN)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from collections.abc import Sequence as SequenceOf
from typing import Any, cast

import torch
from torch import Tensor, nn

from fvq_core.codes import CodeLayout, Codes, Grid, Positions, Sequence, check_is_codes
from fvq_core.errors import UserError
from fvq_core.quantizer import Quantizer, QuantizerOutput
from fvq_core.registry import QUANTIZERS

from .latents import check_indices, check_latent
from .multi_scale_quantizer import MultiScaleQuantizer


@QUANTIZERS.register_module()
class ProductQuantizer(Quantizer):
    """Splits the channels into groups of neighbours and quantizes each with the wrapped quantizer.

    UniTok (Ma et al., 2025) has 8 sub-codebooks of 4,096 unit vectors of 8 channels: `groups=8` around a
    `VectorQuantizer` with `L2Normalize` (without its attention projections). MoVQ (Zheng et al., 2022) has one codebook of
    1,024 x 64 for 4 groups: `groups=4, shared=True`; it is searched, and mapped, once per step. XQ-GAN (Li et al., 2024)
    has 2 groups, also of a `MultiScaleQuantizer`: a position of each scale then has two codes, and an image that loses
    scales in training loses the same in both. Losses are means over groups, as in UniTok and XQ-GAN.

    Args:
        quantizer: Config of a quantizer with one code per position; its `code_dim` is the number of channels per group.
        groups: Codes per position.
        shared: One codebook for all groups, or one per group; several scales have one per group.

    Raises:
        UserError: No group, a quantizer with several codes a position, or `shared` with one that has positions of its own.
    """

    def __init__(self, quantizer: Mapping[str, Any], groups: int, shared: bool = False) -> None:
        super().__init__()
        if groups < 1:
            raise UserError(f'ProductQuantizer: groups must be 1 or more, got {groups}.')
        quantizers = nn.ModuleList(QUANTIZERS.build(copy.deepcopy(quantizer)) for _ in range(1 if shared else groups))
        self.quantizers = cast(SequenceOf[Quantizer], quantizers)
        self.groups, self.shared = groups, shared
        one = Grid(1, 1)
        layout = self.quantizer.layout(one)
        if layout.slots != 1 or (shared and layout.positions != one):
            raise UserError(
                f'ProductQuantizer: wraps a quantizer with one code per position, got {type(self.quantizer).__name__} with '
                f'{layout}.'
            )
        self.codebook_size, self.group_dim = layout.vocab_size, self.quantizer.code_dim
        self.code_dim = groups * self.group_dim

    @property
    def quantizer(self) -> Quantizer:
        """The wrapped quantizer of the first group (of every group if shared)."""
        return self.quantizers[0]

    def layout(self, positions: Positions) -> CodeLayout:
        return CodeLayout(self.quantizer.layout(positions).positions, self.vocabularies)

    def latent_positions(self, layout: CodeLayout) -> Positions:
        return self.quantizer.latent_positions(CodeLayout(layout.positions, self.quantizer.vocabularies))

    def codebook(self) -> Tensor:
        """The mapped codebook (K, D / groups); without `shared`, those of all groups, (groups x K, D / groups)."""
        return torch.cat([quantizer.codebook() for quantizer in self.quantizers])

    def forward(self, z_BDHW: Tensor, labels_B: Tensor | None = None) -> QuantizerOutput:
        """Quantize a latent (B, D, H, W); the codes of a position are concatenated in z_q.

        Args:
            labels_B: In training, if `takes_labels`: the class of each image.
        """
        layout = self.layout(check_latent(self, z_BDHW))
        more = () if labels_B is None else (labels_B,)
        if isinstance(self.quantizer, MultiScaleQuantizer):
            more = (self.quantizer.kept_scales(z_BDHW.shape[0]),)  # one draw for all groups
        if self.shared:
            out = self.quantizer(self._stack(z_BDHW), *more)
            indices_BGL = out.codes.indices_BL.unflatten(1, (self.groups, -1))
            z_q, losses = self._unstack(out.z_q_BDHW), out.losses
            z = None if out.z_BDHW is None else self._unstack(out.z_BDHW)
        else:
            pairs = zip(self.quantizers, z_BDHW.chunk(self.groups, 1), strict=True)
            outs = [quantizer(z, *more) for quantizer, z in pairs]
            indices_BGL = torch.stack([out.codes.indices_BL for out in outs], 1)
            compared = [out.z_BDHW for out in outs if out.z_BDHW is not None]
            z_q, z = torch.cat([out.z_q_BDHW for out in outs], 1), torch.cat(compared, 1) if compared else None
            losses = {name: torch.stack([out.losses[name] for out in outs]).mean() for name in outs[0].losses}
        return QuantizerOutput(z_q, Codes(indices_BGL.transpose(1, 2).flatten(1), layout), z, losses)

    def _stack(self, z_BDHW: Tensor) -> Tensor:
        """(B, D, H, W) to (B, D / groups, groups x H, W), (B, D, L) to (B, D / groups, groups x L): groups in turn."""
        return z_BDHW.unflatten(1, (self.groups, -1)).transpose(1, 2).flatten(2, 3)

    def _unstack(self, z: Tensor) -> Tensor:
        """The inverse of `_stack`."""
        return z.unflatten(2, (self.groups, -1)).transpose(1, 2).flatten(1, 2)

    def embed(self, codes: Codes) -> Tensor:
        check_is_codes('ProductQuantizer', codes)
        if codes.layout.vocabularies != self.vocabularies:
            expected = self.layout(Grid(1, 1))
            raise UserError(f'ProductQuantizer: cannot embed {codes.layout}; expected one such as {expected}.')
        check_indices(self, codes)
        positions = self.latent_positions(codes.layout)
        indices_BGL = codes.indices_BL.unflatten(1, (-1, self.groups)).transpose(1, 2)
        if self.shared:
            layout = self.quantizer.layout(Sequence(self.groups * positions.length))
            z = self.quantizer.embed(Codes(indices_BGL.flatten(1), layout))
            return self._unstack(z).unflatten(2, positions.shape)
        layout = CodeLayout(codes.layout.positions, self.quantizer.vocabularies)
        groups = zip(self.quantizers, indices_BGL.unbind(1), strict=True)
        return torch.cat([quantizer.embed(Codes(indices_BL, layout)) for quantizer, indices_BL in groups], 1)

    def codebook_indices(self, codes: Codes) -> Tensor:
        if self.shared:
            return codes.indices_BL
        offsets = torch.arange(self.groups, device=codes.indices_BL.device) * self.codebook_size
        return (codes.indices_BL.unflatten(1, (-1, self.groups)) + offsets).flatten(1)

    @property
    def vocabularies(self) -> tuple[int, ...]:
        return (self.codebook_size,) * self.groups

    @property
    def needs_init(self) -> bool:
        return self.quantizer.needs_init

    def initialize(self, z_ND: Tensor) -> None:
        parts = [z_ND.reshape(-1, self.group_dim)] if self.shared else z_ND.chunk(self.groups, 1)
        for quantizer, part_ND in zip(self.quantizers, parts, strict=True):
            quantizer.initialize(part_ND)
