"""Multi-scale residual quantization (VAR, Tian et al., 2024, algorithms 1 and 2)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvq_core.codes import CodeLayout, Codes, Grid, Positions, Pyramid, check_is_codes
from fvq_core.errors import UserError
from fvq_core.ops.nearest_code import full_precision
from fvq_core.quantizer import Quantizer, QuantizerOutput
from fvq_core.registry import QUANTIZERS

from .implicit_quantizer import ImplicitQuantizer
from .implicit_steps import check_code_scales, look_up, quantize_step, rows_of_steps
from .latents import check_indices, check_latent, to_latent, to_vectors
from .phi import Phi, phi_of_scales
from .pyramid import Scale, check_modes, check_scales, rescale, shrink
from .vector_quantizer import VectorQuantizer
from .wrapped_quantizer import build_wrapped, trains_codes


@QUANTIZERS.register_module()
class MultiScaleQuantizer(Quantizer):
    """Quantizes the residual of the coarser scales at each scale of a growing grid; wraps a vector quantizer, LFQ, BSQ or FSQ.

    At each scale the residual is shrunk to the scale's size by area averages and quantized; the codes are enlarged to the
    latent's size by bicubic interpolation, passed through a phi convolution and added to the sum. FVQ (VAR) is this with
    a VQBridge inside. The codebook is mapped once a step for all scales, and everything here (forward, embedding,
    prefixes, a generator's inputs) reads the mapped codebook; FVQ's release maps it only in its forward pass.

    The wrapped quantizer's loss terms are taken between the latent and the running sum after each scale and averaged over
    scales, so they train the phis too. Its regularizer, and an update that writes codes (EMA), see the vectors of all
    scales at once, one step per call. VAR's `using_znorm` is `normalize=dict(type='CosineSearch')` in the wrapped
    quantizer.

    Infinity's tokenizer (Han et al., 2025) is `quantizer=dict(type='BSQ', codebook_size=2**32, bit_labels=True)` with
    `phi_ratio=0` and both `interpolation` and `inputs` 'bilinear'. Around LFQ, BSQ or FSQ each scale has that rule's own
    straight-through gradient, which trains the phis too, and its own losses, of all images, averaged over scales.

    Args:
        quantizer: Config of a `VectorQuantizer`, `LFQ`, `BSQ` or `FSQ`.
        scales: Size of the grid at each scale, coarse to fine: numbers, or (height, width) pairs. The last is the size of
            the latent they are meant for; for other latents they are rescaled with it, rounded, and at least 1.
        num_phi: Number of phi convolutions: 1 shared by all scales, fewer than scales to share them among neighbours (4
            in VAR; see `phi_of_scales`), None for one per scale.
        phi_ratio: r in phi(x) = (1 - r) x + r conv(x); 0.5 in VAR. At 0 there are no convolutions and phi is the
            identity.
        dropout: In training, the share of the images of a batch that lose their last scales (XQ-GAN; 0.1 there). Their
            residuals go on to the last scale all the same, and a scale's loss is a mean over the images that have it.
        fewest_scales: How many scales such an image keeps at least, 1 to all; the number is drawn evenly.
        interpolation: How codes are enlarged: 'bicubic' (VAR) or 'bilinear' (Infinity).
        code_scales: Around LFQ, BSQ or FSQ: the size of each scale's codes, by which a residual is divided before it is
            quantized. Infinity's `use_decay_factor` is 1, 0.9, ..., and at least 0.1.
        inputs: How the inputs of a next-scale generator are shrunk from the sum: 'area' (VAR) or 'bilinear' (Infinity).

    Raises:
        UserError: No scales, a scale below 1 or larger than the last, no phi, a negative ratio, a wrapped quantizer whose
            codes cannot be summed, or one that would leave the phis untrained.
    """

    def __init__(
        self,
        quantizer: Mapping[str, Any],
        scales: Sequence[Scale] = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16),
        num_phi: int | None = 4,
        phi_ratio: float = 0.5,
        dropout: float = 0.0,
        fewest_scales: int = 1,
        interpolation: Literal['bicubic', 'bilinear'] = 'bicubic',
        code_scales: Sequence[float] | None = None,
        inputs: Literal['area', 'bilinear'] = 'area',
    ) -> None:
        super().__init__()
        self.scales = check_scales(scales)
        if (num_phi is not None and num_phi < 1) or not 0 <= phi_ratio < math.inf:
            raise UserError(
                f'MultiScaleQuantizer: num_phi must be 1 or more, or None for one per scale, and phi_ratio 0 or more, got '
                f'{num_phi} and {phi_ratio}; phi_ratio=0 is the identity.'
            )
        if not 0 <= dropout <= 1 or not 1 <= fewest_scales <= len(self.scales):
            raise UserError(
                f'MultiScaleQuantizer: dropout must lie in [0, 1] and fewest_scales in [1, {len(self.scales)}], got {dropout} '
                f'and {fewest_scales}.'
            )
        check_modes(interpolation, inputs)
        self.dropout, self.fewest_scales = dropout, fewest_scales
        self.interpolation, self.inputs = interpolation, inputs
        built = build_wrapped('MultiScaleQuantizer', quantizer)
        self.implicit = isinstance(built, ImplicitQuantizer)
        self.code_scales = check_code_scales('MultiScaleQuantizer', code_scales, len(self.scales), self.implicit)
        self.quantizer = cast(VectorQuantizer, built)
        self.code_dim = self.quantizer.code_dim
        count = len(self.scales) if num_phi is None else num_phi
        self.phi_of_scale = phi_of_scales(len(self.scales), count)
        self.phis = nn.ModuleList(Phi(self.code_dim, phi_ratio) for _ in range(count if phi_ratio else 0))
        for index, phi in enumerate(self.phis):
            phi.requires_grad_(index in self.phi_of_scale)  # with fewer scales than phis, some have no scale
        if len(self.phis) and not self.implicit and not trains_codes(self.quantizer):
            raise UserError(
                f'MultiScaleQuantizer: neither {type(self.quantizer.loss).__name__} nor '
                f'{type(self.quantizer.estimator).__name__} gives the sum of codes a gradient, so the phi convolutions '
                'would never learn; keep a codebook term in the loss (VQLoss(codebook_weight=1), also with EMA) or set '
                'phi_ratio=0.'
            )

    def codebook(self) -> Tensor:
        return self.quantizer.codebook()

    @property
    def _rule(self) -> ImplicitQuantizer:
        return cast(ImplicitQuantizer, self.quantizer)

    def codebook_indices(self, codes: Codes) -> Tensor:
        return rows_of_steps(self._rule, codes) if self.implicit else codes.indices_BL

    @property
    def vocabularies(self) -> tuple[int, ...]:
        return self.quantizer.vocabularies

    def layout(self, positions: Positions) -> CodeLayout:
        return CodeLayout(self._pyramid(positions), self.vocabularies)

    def latent_positions(self, layout: CodeLayout) -> Positions:
        if not isinstance(layout.positions, Pyramid):
            raise UserError(f'MultiScaleQuantizer: has codes of a Pyramid, got {layout}.')
        return Grid(*layout.positions.scales[-1])

    def _pyramid(self, positions: Positions) -> Pyramid:
        """The scales of a grid."""
        if not isinstance(positions, Grid):
            raise UserError(f'MultiScaleQuantizer: has scales of a Grid, got {positions}; use an encoder of grids.')
        (height, width), last = positions.shape, self.scales[-1]
        return Pyramid(tuple((rescale(h, last[0], height), rescale(w, last[1], width)) for h, w in self.scales))

    def forward(self, z_BDHW: Tensor, kept_B: Tensor | None = None) -> QuantizerOutput:
        """Quantize a latent (B, D, H, W); `kept_B`: see `kept_scales`, which draws it by default."""
        positions = check_latent(self, z_BDHW)
        layout = self.layout(positions)
        with full_precision(z_BDHW.device.type):
            z_BDHW = z_BDHW.float().contiguous()  # sums keep its memory order, and a decoder takes over theirs
            kept_B = self.kept_scales(z_BDHW.shape[0]) if kept_B is None else kept_B
            indices, sum_BDHW, losses = self._quantize(z_BDHW, kept_B)
            if self.training and not self.implicit:
                estimate_ND = self.quantizer.estimator.pair(to_vectors(z_BDHW), to_vectors(sum_BDHW))
                sum_BDHW = to_latent(estimate_ND, positions)
        codes = Codes(torch.cat([i.view(z_BDHW.shape[0], -1) for i in indices], 1), layout)
        return QuantizerOutput(sum_BDHW, codes, z_BDHW, losses)

    def _quantize(self, z_BDHW: Tensor, kept_B: Tensor | None) -> tuple[list[Tensor], Tensor, dict[str, Tensor]]:
        """Indices (B h w,) or tokens (B h w, T) of each scale, the sum of all (B, D, H, W), and losses averaged over scales."""
        H, W = z_BDHW.shape[-2:]
        z_ND = to_vectors(z_BDHW)
        self.maybe_initialize(z_ND)
        vq, codebook_KD = self.quantizer, z_ND if self.implicit else self.codebook()
        residual_BDHW, sum_BDHW = z_BDHW, torch.zeros_like(z_BDHW)
        residuals, indices, terms = [], [], []
        for scale, (h, w) in enumerate(self._pyramid(Grid(H, W)).scales):
            residual_ND = to_vectors(shrink(residual_BDHW, h, w))
            if self.implicit:
                indices_N, value_ND, term = quantize_step(
                    self._rule, residual_ND, self.code_scales[scale], z_BDHW.shape[0]
                )
            else:
                indices_N = vq.search(residual_ND, codebook_KD)
                value_ND, term = F.embedding(indices_N, codebook_KD), {}
            part_BDHW = self._enlarge(to_latent(value_ND, Grid(h, w)), H, W, scale)
            has_B = None if kept_B is None else (kept_B > scale).to(z_BDHW.device)
            sum_BDHW = sum_BDHW + (part_BDHW if has_B is None else part_BDHW * has_B.view(-1, 1, 1, 1))
            # Codes are constants here, so that a regularizer's gradient reaches only the latent.
            residual_BDHW = residual_BDHW - part_BDHW.detach()
            residuals.append(residual_ND)
            indices.append(indices_N)
            if self.implicit:
                terms.append(term)
            elif self.training and (kept_B is None or bool((kept_B > scale).any())):
                of_N = slice(None) if has_B is None else has_B.repeat_interleave(H * W)
                of_z_ND, sum_ND = z_ND[of_N], to_vectors(sum_BDHW)[of_N]
                terms.append(vq.loss(of_z_ND, sum_ND, vq.estimator.pair(of_z_ND, sum_ND)))
        if not self.training:
            return indices, sum_BDHW, {}
        losses = {key: torch.stack([term[key] for term in terms]).sum() / len(self.scales) for key in terms[0]}
        if self.implicit:
            return indices, sum_BDHW, losses
        residual_ND = torch.cat(residuals)
        losses.update(vq.regularization(residual_ND, codebook_KD))
        if self.learns:
            vq.update.step(vq.embedding, residual_ND.detach(), torch.cat(indices))
        return indices, sum_BDHW, losses

    def kept_scales(self, batch: int) -> Tensor | None:
        """How many scales each image of a training batch keeps, (B,) on the CPU: the first ones may lose some. None: all."""
        if not (self.training and self.dropout):
            return None
        kept_B = torch.full((batch,), len(self.scales))
        count = int(batch * self.dropout)
        kept_B[:count] = torch.randint(self.fewest_scales, len(self.scales) + 1, (batch,))[:count]
        return kept_B

    def _enlarge(self, codes_BDhw: Tensor, height: int, width: int, scale: int) -> Tensor:
        """Codes of one scale to their part of the latent, (B, D, height, width)."""
        if codes_BDhw.shape[-2:] != (height, width):
            codes_BDhw = F.interpolate(codes_BDhw, (height, width), mode=self.interpolation)
        codes_BDhw = codes_BDhw.contiguous()  # on some CPUs a convolution's last bits depend on the memory order
        part = self.phis[self.phi_of_scale[scale]](codes_BDhw) if len(self.phis) else codes_BDhw
        return part.contiguous()  # a map of one position looks channels-last, and sums and decoder would take that over

    def _check(self, codes: Codes, wait: bool) -> Pyramid:
        """The scales of codes that this quantizer can embed."""
        check_is_codes('MultiScaleQuantizer', codes)
        layout, pyramid = codes.layout, codes.layout.positions
        check_indices(self, codes, wait)
        if not isinstance(pyramid, Pyramid) or layout != self.layout(Grid(*pyramid.scales[-1])):
            example = self.layout(Grid(*self.scales[-1]))
            raise UserError(f'MultiScaleQuantizer: cannot embed {layout}; expected one that scales as {example}.')
        return pyramid

    def _sums(self, codes: Codes, wait: bool) -> Iterator[Tensor]:
        """The running sum after each scale, (B, D, H, W); bit for bit as `forward` adds them."""
        pyramid = self._check(codes, wait)
        codebook_KD = codes.indices_BL if self.implicit else self.quantizer.codebook(wait)
        sum_BDHW = None
        lengths = [length * codes.layout.slots for length in pyramid.lengths]
        split = zip(codes.indices_BL.split(lengths, 1), pyramid.scales, strict=True)
        for number, (indices_Bl, scale) in enumerate(split):
            if self.implicit:
                codes_ND = look_up(self._rule, indices_Bl, self.code_scales[number])
            else:
                codes_ND = F.embedding(indices_Bl.reshape(-1), codebook_KD)
            codes_BDhw = to_latent(codes_ND, Grid(*scale))
            with full_precision(codes_BDhw.device.type):
                part_BDHW = self._enlarge(codes_BDhw, *pyramid.scales[-1], number)
            sum_BDHW = part_BDHW if sum_BDHW is None else sum_BDHW + part_BDHW
            yield sum_BDHW

    def embed(self, codes: Codes) -> Tensor:
        return self.embed_prefix(codes, len(self.scales))

    def embed_prefix(self, codes: Codes, step: int) -> Tensor:
        """The sum of the first `step` scales, (B, D, H, W); with all of them, `embed`.

        Args:
            codes: Codes of all scales; those of later ones do not matter.
            step: 1 to the number of scales.
        """
        if not 1 <= step <= len(self.scales):
            raise UserError(f'MultiScaleQuantizer: step must lie in [1, {len(self.scales)}], got {step}.')
        return next(islice(self._sums(codes, wait=True), step - 1, None))

    def prefix_inputs(self, codes: Codes) -> Tensor:
        """The inputs of a next-scale generator in training (VAR), (B, L - L_1, D) in the order of the codes.

        For each scale but the first: the sum of the scales before it, shrunk to its size.
        """
        scales = self._check(codes, wait=False).scales
        # The scales are one fewer, so the last sum, which would feed nothing, is never computed.
        inputs = [
            shrink(sums, *scale, self.inputs).flatten(2).transpose(1, 2)
            for scale, sums in zip(scales[1:], self._sums(codes, wait=False), strict=False)
        ]
        return torch.cat([torch.zeros(len(codes), 0, self.code_dim, device=codes.indices_BL.device), *inputs], 1)

    def advance(self, sum_BDHW: Tensor, codes_BDhw: Tensor, scale: int) -> tuple[Tensor, Tensor]:
        """See `NextScale`; after the last scale the next input is the sum itself."""
        H, W = sum_BDHW.shape[-2:]
        scales = self._pyramid(Grid(H, W)).scales
        with full_precision(sum_BDHW.device.type):
            sum_BDHW = sum_BDHW + self._enlarge(codes_BDhw * self.code_scales[scale], H, W, scale)
            return sum_BDHW, shrink(sum_BDHW, *scales[min(scale + 1, len(scales) - 1)], self.inputs)

    def quantize_scale(self, residual_BDHW: Tensor, scale: int) -> Tensor:
        """Codes (B, L_scale) of what the scales before `scale` (from 0) have left of latents (B, D, H, W)."""
        B, _, H, W = residual_BDHW.shape
        with full_precision(residual_BDHW.device.type):
            residual_ND = to_vectors(shrink(residual_BDHW, *self._pyramid(Grid(H, W)).scales[scale]))
            if self.implicit:
                return quantize_step(self._rule, residual_ND, self.code_scales[scale], B)[0].view(B, -1)
            return self.quantizer.search(residual_ND, self.codebook()).view(B, -1)

    @property
    def needs_init(self) -> bool:
        return self.quantizer.needs_init

    def initialize(self, z_ND: Tensor) -> None:
        """Start the codebook from whole latents: residuals are known only once there are codes."""
        self.quantizer.initialize(z_ND)

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """Four scales; they are rescaled to the small image's latent."""
        return dict(scales=(1, 2, 3, 4))
