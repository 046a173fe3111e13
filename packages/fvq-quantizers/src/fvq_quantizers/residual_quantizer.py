"""Residual quantization (RQ-VAE, Lee et al., 2022): each depth quantizes the residual of the depths before."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import reduce
from itertools import accumulate
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvq_core.codes import CodeLayout, Codes, Positions
from fvq_core.errors import UserError
from fvq_core.ops.nearest_code import full_precision
from fvq_core.quantizer import Quantizer, QuantizerOutput
from fvq_core.registry import QUANTIZERS

from .implicit_quantizer import ImplicitQuantizer
from .implicit_steps import check_code_scales, look_up, quantize_steps, rows_of_steps
from .latents import check_codes, check_latent, to_latent
from .shifted_logits import shifted_logits
from .space_to_depth import SpaceToDepth
from .vector_quantizer import VectorQuantizer
from .wrapped_quantizer import build_wrapped


@QUANTIZERS.register_module()
class ResidualQuantizer(Quantizer):
    """Wraps a vector quantizer with any projector, or LFQ, BSQ or FSQ; FVQ (RQ-VAE) is this with a VQBridge inside.

    A shared codebook is mapped once a step for all depths. The losses of the wrapped quantizer are taken between the
    latent and each partial sum of codes, and averaged over depths (RQ-VAE, eq. 7). If an update writes codes (EMA)
    into a shared codebook, each depth sees the update of the one before, as released.

    Around LFQ, BSQ or FSQ each depth quantizes the residual by that rule, with the rule's own losses, averaged over depths,
    and its own straight-through gradient. All tokens of a depth stand together.

    Args:
        quantizer: Config of a `VectorQuantizer`, `LFQ`, `BSQ` or `FSQ`.
        depth: Number of codes per position; 4 in RQ-VAE.
        shared: One codebook for all depths, or one per depth.
        codebook_sizes: Without `shared`, K of each depth instead of the wrapped quantizer's.
        updates: Without `shared`, the update of each depth (RQ-VAE's list of decays).
        space_to_depth: Side of a square of positions, or (rows, columns), whose vectors are joined into one before they
            are quantized (RQ-VAE's `code_shape` smaller than its `latent_shape`). The wrapped quantizer's `code_dim` is
            then rows * columns times the latent's channels.
        residual_losses: Take losses between each residual and its code, instead of between the latent and the partial
            sums. Their gradient reaches the code and, through the residual, those of the depths before, but not the
            latent: nothing commits the encoder to the codes. Residuals may then be normalized (`L2Normalize`), each
            before its code is searched. All as in ViT-VQGAN's residual option (thuanz123/enhancing-transformers).
        code_scales: Around LFQ, BSQ or FSQ: the size of each depth's codes. A residual is divided by it before it is
            quantized, and the code multiplied. With L symmetric levels of `FSQ(hard_clamp=True)`, 1, 1 / (L - 1), ... refine
            each other.

    Raises:
        UserError: A list with another length than the depth, or with a shared codebook; a `code_dim` that rows * columns
            does not divide; initialization from latents (k-means) with joined positions; or a wrapped quantizer whose
            codes cannot be summed.
    """

    def __init__(
        self,
        quantizer: Mapping[str, Any],
        depth: int = 4,
        shared: bool = True,
        codebook_sizes: Sequence[int] | None = None,
        updates: Sequence[Mapping[str, Any]] | None = None,
        space_to_depth: int | Sequence[int] = 1,
        residual_losses: bool = False,
        code_scales: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if depth < 1:
            raise UserError(f'ResidualQuantizer: depth must be 1 or more, got {depth}.')
        self.depth, self.shared, self.residual_losses = depth, shared, residual_losses
        configs = [dict(copy.deepcopy(quantizer).items()) for _ in range(1 if shared else depth)]
        for name, key, values in (('codebook_sizes', 'codebook_size', codebook_sizes), ('updates', 'update', updates)):
            if values is not None and (shared or len(values) != depth):
                raise UserError(
                    f'ResidualQuantizer: {name} needs shared=False and one entry for each of the {depth} depths, got '
                    f'{len(values)} with shared={shared}.'
                )
            for config, value in zip(configs, values or (), strict=False):
                config[key] = value
        built = [build_wrapped('ResidualQuantizer', config, residual_losses) for config in configs]
        self.implicit = isinstance(built[0], ImplicitQuantizer)
        if self.implicit and (residual_losses or not shared):
            raise UserError(
                f'ResidualQuantizer: {type(built[0]).__name__} has one rule for all depths, and its own losses; drop '
                'shared=False and residual_losses.'
            )
        self.code_scales = check_code_scales('ResidualQuantizer', code_scales, depth, self.implicit)
        self.quantizers = cast(Sequence[VectorQuantizer], nn.ModuleList(built))
        self.joined = SpaceToDepth(space_to_depth, self.quantizer.code_dim)
        self.code_dim = self.joined.channels
        if self.needs_init and self.code_dim != self.quantizer.code_dim:
            raise UserError(
                f'ResidualQuantizer: {type(self.quantizer.init).__name__} starts from single latents, but space_to_depth '
                f'{space_to_depth} joins them; use another init.'
            )

    @property
    def quantizer(self) -> VectorQuantizer:
        """The wrapped quantizer of the first depth (of every depth if shared)."""
        return self.quantizers[0]

    def at_depth(self, depth: int) -> VectorQuantizer:
        """The wrapped quantizer of a depth, from 0."""
        return self.quantizers[0 if self.shared else depth]

    def codebook(self) -> Tensor:
        """The mapped codebook (K, D); without `shared`, the codebooks of all depths concatenated.

        With `space_to_depth` a code has the channels of all positions that it joins.
        """
        return torch.cat(self.codebooks()[: self.distinct])

    @property
    def distinct(self) -> int:
        """How many codebooks the depths have: 1 if they share one."""
        return 1 if self.shared and len(set(self.code_scales)) == 1 else self.depth

    def codebooks(self, wait: bool = True) -> list[Tensor]:
        """The mapped codebook of each depth; a shared one is mapped once. `wait` as in `check_codebook`."""
        if self.implicit:
            codes_KD = self.quantizer.codebook()
            return [codes_KD * size for size in self.code_scales]
        mapped = [q.codebook(wait) for q in self.quantizers]
        return mapped * self.depth if self.shared else mapped

    def forward(self, z_BDHW: Tensor) -> QuantizerOutput:
        layout = self.layout(check_latent(self, z_BDHW))
        B = z_BDHW.shape[0]
        with full_precision(z_BDHW.device.type):
            z_ND = self.joined.vectors(z_BDHW)
            self.maybe_initialize(z_ND)
            indices, sums, losses = self._quantize(z_ND, B)
            paired = self.training and not self.implicit
            z_q_ND = self.quantizer.estimator.pair(z_ND, sums[-1]) if paired else sums[-1]
        codes = Codes(torch.stack(indices, 1).view(B, -1), layout)
        z_q_BDHW, z_BDHW = (self.joined.split(to_latent(x_ND, layout.positions)) for x_ND in (z_q_ND, z_ND))
        return QuantizerOutput(z_q_BDHW, codes, z_BDHW, losses)

    def _quantize(self, z_ND: Tensor, images: int) -> tuple[list[Tensor], list[Tensor], dict[str, Tensor]]:
        """Indices (N,) or tokens (N, T) and partial sums of each depth, and the losses averaged over depths."""
        if self.implicit:
            return quantize_steps(self._rule, z_ND, self.code_scales, images)
        codebooks = self.codebooks()
        # Codes are constants in the residual, so that a regularizer's gradient reaches only the latent; with losses of
        # residuals, the latent is one, and codes are not.
        residual_ND = z_ND.detach() if self.residual_losses else z_ND
        partial_ND = torch.zeros_like(z_ND)
        indices, sums, terms = [], [], []
        for depth, codebook_KD in enumerate(codebooks):
            vq = self.at_depth(depth)
            if vq.update.writes_codes and self.learns and depth:
                codebook_KD = vq.codebook()
            compared_ND = vq.normalize.latent(residual_ND)
            indices_N = vq.search(compared_ND, codebook_KD)
            code_vectors_ND = F.embedding(indices_N, codebook_KD)
            partial_ND = partial_ND + code_vectors_ND
            if self.training:
                pair = (compared_ND, code_vectors_ND) if self.residual_losses else (z_ND, partial_ND)
                losses = vq.loss(*pair, vq.estimator.pair(*pair))
                terms.append({**losses, **vq.regularization(compared_ND, codebook_KD)})
            if self.learns:
                vq.update.step(vq.embedding, compared_ND.detach(), indices_N)
            residual_ND = residual_ND - (code_vectors_ND if self.residual_losses else code_vectors_ND.detach())
            indices.append(indices_N)
            sums.append(partial_ND)
        return indices, sums, {key: torch.stack([term[key] for term in terms]).mean() for key in (terms or [{}])[0]}

    @property
    def _rule(self) -> ImplicitQuantizer:
        return cast(ImplicitQuantizer, self.quantizer)

    def embed(self, codes: Codes) -> Tensor:
        return self.embed_partial(codes, self.depth - 1)

    def embed_partial(self, codes: Codes, depth: int, cumulative: bool = True) -> Tensor:
        """The latent (B, D, H, W) of the codes up to a depth, or only of that depth.

        Args:
            depth: The last depth, from 0.
            cumulative: Whether to add the depths before it.
        """
        if not 0 <= depth < self.depth:
            raise UserError(f'ResidualQuantizer: depth must lie in [0, {self.depth}), got {depth}.')
        parts = self._parts(codes)[: depth + 1]
        total = reduce(torch.add, parts) if cumulative else parts[-1]  # the order of `forward`, for the same bits
        return self.joined.split(total.contiguous())

    def embed_depth(self, codes: Codes, cumulative: bool = False) -> Tensor:
        """The code of each depth, (B, depth, D, H, W), or their running sums.

        With `space_to_depth` positions stay joined: (B, depth, rows * columns * D, H / rows, W / columns).
        """
        stacked = torch.stack(self._parts(codes, wait=False), 1)
        return stacked.cumsum(1) if cumulative else stacked

    def _parts(self, codes: Codes, wait: bool = True) -> list[Tensor]:
        """The code of each depth, (B, rows * columns * D, h, w)."""
        positions = check_codes(self, codes, wait)
        if self.implicit:
            tokens = codes.indices_BL.view(-1, self.depth, len(self._rule.vocabularies)).unbind(1)
            parts = [look_up(self._rule, each, size) for each, size in zip(tokens, self.code_scales, strict=True)]
            return [to_latent(part_ND, positions) for part_ND in parts]
        indices = codes.indices_BL.view(-1, *positions.shape, self.depth).unbind(-1)
        return [
            F.embedding(i, codebook).movedim(-1, 1) for i, codebook in zip(indices, self.codebooks(wait), strict=True)
        ]

    @torch.no_grad()
    def soft_codes(
        self,
        z_BDHW: Tensor,
        temperature: float = 1.0,
        stochastic: bool = False,
        rng: torch.Generator | None = None,
    ) -> tuple[Tensor, Codes]:
        """Soft targets of RQ-Transformer: softmax(-distance / temperature) of each depth, (B, L, V), and codes.

        If depths have codebooks of different sizes, V is the largest; codes that a depth lacks get 0.

        Args:
            temperature: Softmax temperature, above 0; 0.5 in RQ-Transformer.
            stochastic: Draw the codes from the softmax instead of taking the nearest.
            rng: Random source of the draws, on the latent's device; torch's global one by default.
        """
        if not temperature > 0:
            raise UserError(f'ResidualQuantizer: temperature must be above 0, got {temperature}.')
        if self.implicit:
            raise UserError(
                f'ResidualQuantizer: {type(self.quantizer).__name__} has no distances to soften; give hard codes.'
            )
        layout = self.layout(check_latent(self, z_BDHW))
        B = z_BDHW.shape[0]
        soft, indices = [], []
        with full_precision(z_BDHW.device.type):
            residual_ND = self.joined.vectors(z_BDHW)
            for depth, codebook_KD in enumerate(self.codebooks(wait=False)):
                vq = self.at_depth(depth)
                compared_ND = vq.normalize.latent(residual_ND)
                p_NK = (shifted_logits(vq, codebook_KD)(compared_ND, codebook_KD) / temperature).softmax(1)
                drawn_N = p_NK.multinomial(1, generator=rng).squeeze(1) if stochastic else None
                indices_N = vq.search(compared_ND, codebook_KD) if drawn_N is None else drawn_N
                residual_ND = residual_ND - F.embedding(indices_N, codebook_KD)
                soft.append(F.pad(p_NK, (0, layout.vocab_size - p_NK.shape[1])))
                indices.append(indices_N)
        return torch.stack(soft, 1).view(B, layout.length, -1), Codes(torch.stack(indices, 1).view(B, -1), layout)

    def codebook_indices(self, codes: Codes) -> Tensor:
        if self.implicit:
            rows_BNdG = rows_of_steps(self._rule, codes).unflatten(1, (-1, self.depth, self._rule.groups))
            starts = torch.arange(self.depth, device=rows_BNdG.device) * self._rule.codebook_size
            return (rows_BNdG + starts[:, None] * (self.distinct > 1)).flatten(1)
        if self.shared:
            return codes.indices_BL
        starts = torch.tensor([0, *accumulate(self.vocabularies[:-1])], device=codes.indices_BL.device)
        return (codes.indices_BL.unflatten(1, (-1, self.depth)) + starts).flatten(1)

    @property
    def vocabularies(self) -> tuple[int, ...]:
        return tuple(size for depth in range(self.depth) for size in self.at_depth(depth).vocabularies)

    def layout(self, positions: Positions) -> CodeLayout:
        return CodeLayout(self.joined.positions(positions), self.vocabularies)

    def latent_positions(self, layout: CodeLayout) -> Positions:
        return self.joined.latent_positions(layout.positions)

    def fold(self, label: int | None = None) -> ResidualQuantizer:
        folded = super().fold(label)
        getattr(folded, 'component_config', {}).pop('updates', None)
        return folded

    @property
    def needs_init(self) -> bool:
        return self.quantizer.needs_init

    def initialize(self, z_ND: Tensor) -> None:
        for depth, vq in enumerate(self.quantizers):
            vq.initialize(z_ND)
            if depth + 1 < len(self.quantizers):
                codebook_KD = vq.codebook()
                z_ND = z_ND - F.embedding(vq.search(vq.normalize.latent(z_ND), codebook_KD), codebook_KD)

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """Codebooks of at most 256 codes, as in the wrapped quantizer."""
        sizes = cfg.get('codebook_sizes')
        return dict(codebook_sizes=[min(size, 256) for size in sizes]) if sizes else {}
