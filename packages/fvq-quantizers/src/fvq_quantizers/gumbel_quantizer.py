"""Gumbel-softmax vector quantization (Jang et al., 2017; DALL-E's dVAE, Ramesh et al., 2021; VQGAN's GumbelVQ)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvq_core.codes import Codes
from fvq_core.errors import UserError
from fvq_core.ops.nearest_code import full_precision
from fvq_core.quantizer import QuantizerOutput
from fvq_core.registry import QUANTIZERS

from .chunked_softmax import over_row_chunks
from .codebook_quantizer import CodebookQuantizer
from .latents import check_codebook, check_finite, check_latent, to_latent, to_vectors


@QUANTIZERS.register_module()
class GumbelQuantizer(CodebookQuantizer):
    """A linear map gives each latent K logits; in training a code is drawn from them, in eval the best is taken.

    Latents are never compared with codes. In training z_q = softmax((logits + g) / temperature)
    @ codebook with Gumbel noise g, or its hard choice with the soft one's gradient; the loss is `kl_weight` x
    KL(softmax(logits) || uniform), mean over positions. Codes are trained only by the reconstruction. Rows are taken in
    chunks, so no N x K matrix is kept. VQGAN draws in eval too; we do not. DALL-E has no map: its encoder ends in K
    channels.

    Args:
        codebook_size: K; 8,192 in DALL-E and VQGAN.
        code_dim: D, channels of latent and codes.
        straight_through: Return the hard choice in training (VQGAN) instead of the soft mixture (DALL-E).
        kl_weight: 5e-4 in VQGAN's layer by default; 1e-8 in its `GumbelVQ`.
        temperature: Temperature of the first training step; 1 in both.
        final_temperature: Temperature after `temperature_steps`, 1/16 in DALL-E; by default it stays.
        temperature_steps: Length of the cosine schedule in training forwards (steps x micro-batches); 150,000 in DALL-E.

    Raises:
        UserError: Sizes below 1, a temperature that is not positive, or only one of the two schedule arguments.

    Attributes:
        embedding: The codebook (K, D).
        steps: Training forwards so far.
    """

    steps: Tensor

    def __init__(
        self,
        codebook_size: int,
        code_dim: int,
        straight_through: bool = True,
        kl_weight: float = 5e-4,
        temperature: float = 1.0,
        final_temperature: float | None = None,
        temperature_steps: int = 0,
    ) -> None:
        super().__init__(codebook_size, code_dim)
        if (final_temperature is None) != (temperature_steps == 0) or temperature_steps < 0:
            raise UserError(
                'GumbelQuantizer: a schedule needs final_temperature and temperature_steps above 0, got '
                f'{final_temperature} and {temperature_steps}.'
            )
        final = temperature if final_temperature is None else final_temperature
        if min(temperature, final) <= 0 or kl_weight < 0:
            raise UserError(
                f'GumbelQuantizer: temperatures must be above 0 and kl_weight 0 or more, got {temperature}, {final} and '
                f'{kl_weight}.'
            )
        self.straight_through, self.kl_weight = straight_through, kl_weight
        self.first_temperature, self.final_temperature, self.temperature_steps = temperature, final, temperature_steps
        self.to_logits = nn.Linear(code_dim, codebook_size)
        self.embedding = nn.Parameter(torch.empty(codebook_size, code_dim).normal_())
        self.register_buffer('steps', torch.zeros((), dtype=torch.int64))

    @property
    def temperature(self) -> Tensor:
        """The temperature of the next training forward, a scalar on the device."""
        done = (self.steps / max(1, self.temperature_steps)).clamp(max=1.0)
        remaining = 0.5 * (1 + (math.pi * done).cos())
        return self.final_temperature + (self.first_temperature - self.final_temperature) * remaining

    def codebook(self) -> Tensor:
        return check_codebook(self, self.embedding.float())

    def forward(self, z_BDHW: Tensor) -> QuantizerOutput:
        """See `Quantizer`; latents are not compared with codes, so the output has no `z_BDHW`."""
        positions, B = check_latent(self, z_BDHW), z_BDHW.shape[0]
        temperature, training = self.temperature, self.training

        def chunk(z_ND: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            with full_precision(z_ND.device.type):
                return self._quantize(z_ND, temperature, training)

        parts = over_row_chunks(chunk, to_vectors(z_BDHW).float(), self.codebook_size)
        indices_N, z_q_ND, kl_N = (torch.cat(part) for part in zip(*parts, strict=True))
        check_finite(self, kl_N, 'the logits', B)  # NaN if a logit is not finite
        losses = {}
        if self.training:
            if self.learns:
                self.steps += 1
            if self.kl_weight:
                losses['kl'] = self.kl_weight * kl_N.mean()
        codes = Codes(indices_N.view(B, -1), self.layout(positions))
        return QuantizerOutput(to_latent(z_q_ND, positions), codes, None, losses)

    def _quantize(self, z_ND: Tensor, temperature: Tensor, training: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Indices (N,), quantized vectors (N, D), divergence from the uniform choice (N,).

        The backward pass runs it again, possibly in another mode, hence `training`.
        """
        logits_NK, codebook_KD = self.to_logits(z_ND), self.codebook()
        log_p_NK = logits_NK.log_softmax(1)
        kl_N = (log_p_NK.exp() * (log_p_NK + math.log(self.codebook_size))).sum(1)
        if not training:
            indices_N = logits_NK.argmax(1)
            return indices_N, F.embedding(indices_N, codebook_KD), kl_N
        gumbel_NK = -torch.empty_like(logits_NK).exponential_().log()
        soft_NK = ((logits_NK + gumbel_NK) / temperature).softmax(1)
        indices_N = soft_NK.argmax(1)
        if not self.straight_through:
            return indices_N, soft_NK @ codebook_KD, kl_N
        # (hard - sg[soft] + soft) @ codebook: only the hard choice moves codes
        soft_ND = soft_NK @ codebook_KD.detach()
        return indices_N, F.embedding(indices_N, codebook_KD) + (soft_ND - soft_ND.detach()), kl_N
