"""Residual quantization (RQ-VAE, Lee et al., 2022): each depth quantizes what the depths before left over."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvq_core.codes import Codes, ResidualGrid
from fvq_core.errors import UserError
from fvq_core.nearest_code import full_precision
from fvq_core.quantizer import Quantizer, QuantizerOutput
from fvq_core.registry import QUANTIZERS

from .vector_quantizer import VectorQuantizer, to_grid, to_vectors


@QUANTIZERS.register_module()
class ResidualQuantizer(Quantizer):
    """Wraps a vector quantizer, whatever its projector; FVQ (RQ-VAE) is this with a VQBridge inside.

    A shared codebook is mapped once a step for all depths. The losses of the wrapped quantizer are taken between the
    latent and each partial sum of codes, and averaged over depths (RQ-VAE, eq. 7). Where an update writes codes (EMA)
    into a shared codebook, each depth's update is seen by the next, as released.

    Args:
        quantizer: Config of a `VectorQuantizer`.
        depth: Number of codes of each position; 4 in RQ-VAE.
        shared: One codebook for all depths, else one for each.

    Raises:
        UserError: The wrapped quantizer's estimator needs one codebook for its whole value (index back-propagation), or
            its normalisation would make residuals unit vectors.
    """

    def __init__(self, quantizer: Mapping[str, Any], depth: int = 4, shared: bool = True) -> None:
        super().__init__()
        if depth < 1:
            raise UserError(f'ResidualQuantizer: depth must be 1 or more, got {depth}.')
        self.depth, self.shared = depth, shared
        quantizers = nn.ModuleList(QUANTIZERS.build(quantizer) for _ in range(1 if shared else depth))
        first = quantizers[0]
        if not isinstance(first, VectorQuantizer):
            raise UserError(f'ResidualQuantizer: wraps a VectorQuantizer, got {type(first).__name__}.')
        if not first.estimator.pairwise:
            raise UserError(
                f'ResidualQuantizer: {type(first.estimator).__name__} needs one codebook for the whole value, a sum of '
                'codes has none; use StraightThrough.'
            )
        if first.normalize.changes_latent:
            raise UserError(
                f'ResidualQuantizer: {type(first.normalize).__name__} would put residuals, which shrink, on the unit '
                'sphere; use NoNormalization or CosineSearch.'
            )
        self.quantizers = cast(Sequence[VectorQuantizer], quantizers)
        self.code_dim = first.code_dim

    @property
    def quantizer(self) -> VectorQuantizer:
        """The wrapped quantizer of the first depth (of every depth where shared)."""
        return self.quantizers[0]

    def at_depth(self, depth: int) -> VectorQuantizer:
        """The wrapped quantizer that depth uses."""
        return self.quantizers[0 if self.shared else depth]

    def codebook(self) -> Tensor:
        """The mapped codebook, (K, D); where depths have their own, all of them in turn, (depth * K, D)."""
        return torch.cat([q.codebook() for q in self.quantizers])

    def codebooks(self) -> list[Tensor]:
        """The mapped codebook (K, D) of each depth; a shared one is mapped once."""
        mapped = [q.codebook() for q in self.quantizers]
        return mapped * self.depth if self.shared else mapped

    def forward(self, z_BDHW: Tensor) -> QuantizerOutput:
        B, _, H, W = self.quantizer.check_latent(z_BDHW)
        with full_precision(z_BDHW.device.type):
            z_ND = self.quantizer.normalize.latent(to_vectors(z_BDHW).float())
            indices, sums, losses = self._quantize(z_ND)
            z_q_ND = self.quantizer.estimator.pair(z_ND, sums[-1].detach()) if self.training else sums[-1]
        codes = Codes(torch.stack(indices, 1).view(B, -1), self.layout(H, W))
        return QuantizerOutput(to_grid(z_q_ND, B, H, W), codes, to_grid(z_ND, B, H, W), losses)

    def _quantize(self, z_ND: Tensor) -> tuple[list[Tensor], list[Tensor], dict[str, Tensor]]:
        """Indices and partial sums of each depth, and the losses averaged over depths."""
        codebooks = self.codebooks()
        residual_ND, partial_ND = z_ND.detach(), torch.zeros_like(z_ND)
        indices, sums, terms = [], [], []
        for depth, codebook_KD in enumerate(codebooks):
            vq = self.at_depth(depth)
            if vq.update.writes_codes and self.training and depth:
                codebook_KD = vq.codebook()
            indices_N = vq.search(residual_ND, codebook_KD)
            codes_ND = F.embedding(indices_N, codebook_KD)
            partial_ND = partial_ND + codes_ND
            if self.training:
                terms.append({**vq.loss(z_ND, partial_ND, partial_ND), **vq.regularization(residual_ND, codebook_KD)})
                vq.update.step(vq.embedding, residual_ND, indices_N)
            residual_ND = residual_ND - codes_ND.detach()
            indices.append(indices_N)
            sums.append(partial_ND)
        return indices, sums, {key: torch.stack([term[key] for term in terms]).mean() for key in (terms or [{}])[0]}

    def embed(self, codes: Codes) -> Tensor:
        total = reduce(torch.add, self.embed_depth(codes).unbind(1))  # in the order of `forward`, to the last bit
        return total.contiguous()

    def embed_depth(self, codes: Codes, cumulative: bool = False) -> Tensor:
        """The code of each depth, (B, depth, D, H, W), or their running sums."""
        codes.layout.check(codes.indices_BL)
        expected = self.layout(1, 1)
        if not isinstance(codes.layout, ResidualGrid) or codes.layout.vocabularies != expected.vocabularies:
            raise UserError(f'ResidualQuantizer: cannot embed {codes.layout}; expected a grid of {expected}.')
        indices = codes.unflatten().unbind(-1)
        parts = [
            F.embedding(i, codebook).permute(0, 3, 1, 2) for i, codebook in zip(indices, self.codebooks(), strict=True)
        ]
        stacked = torch.stack(parts, 1)
        return stacked.cumsum(1) if cumulative else stacked

    def soft_codes(self, z_BDHW: Tensor, temperature: float = 1.0, stochastic: bool = False) -> tuple[Tensor, Codes]:
        """Soft targets of RQ-Transformer: softmax(-distance / temperature) of each depth, (B, H, W, depth, K), and codes.

        Args:
            z_BDHW: The latent.
            temperature: Of the softmax; 0.5 in RQ-Transformer.
            stochastic: Draw the codes from the soft choice instead of taking the best.
        """
        B, _, H, W = self.quantizer.check_latent(z_BDHW)
        residual_ND = self.quantizer.normalize.latent(to_vectors(z_BDHW).float())
        soft, indices = [], []
        for depth, codebook_KD in enumerate(self.codebooks()):
            vq = self.at_depth(depth)
            p_NK = (vq.distance.logits(residual_ND, codebook_KD) / temperature).softmax(1)
            indices_N = p_NK.multinomial(1).squeeze(1) if stochastic else vq.search(residual_ND, codebook_KD)
            residual_ND = residual_ND - F.embedding(indices_N, codebook_KD)
            soft.append(p_NK.view(B, H, W, -1))
            indices.append(indices_N)
        return torch.stack(soft, 3), Codes(torch.stack(indices, 1).view(B, -1), self.layout(H, W))

    def rows(self, codes: Codes) -> Tensor:
        if self.shared:
            return codes.indices_BL
        offsets = torch.arange(self.depth, device=codes.indices_BL.device) * self.quantizer.codebook_size
        return (codes.unflatten() + offsets).flatten(1)

    def layout(self, height: int, width: int) -> ResidualGrid:
        return ResidualGrid(height, width, (self.quantizer.codebook_size,) * self.depth)

    def fold(self, label: int | None = None) -> ResidualQuantizer:
        folded = copy.copy(self)
        folded._modules = {'quantizers': nn.ModuleList(q.fold(label) for q in self.quantizers)}
        return folded.eval()

    @property
    def needs_latents(self) -> bool:
        return self.quantizer.needs_latents

    def initialize(self, z_ND: Tensor) -> None:
        for depth, vq in enumerate(self.quantizers):
            vq.initialize(z_ND)
            if depth + 1 < len(self.quantizers):
                codebook_KD = vq.codebook()
                z_ND = z_ND - F.embedding(vq.search(z_ND, codebook_KD), codebook_KD)
