"""NS-VQ: codes that were not chosen follow the encoder's drift too (Lu et al., 2026, arXiv 2602.18896)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.registry import QUANTIZER_LOSSES

from ..chunked_softmax import chunk_rows
from .assignment_cross_entropy import CodebookLoss


@QUANTIZER_LOSSES.register_module()
class NonStationaryLoss(CodebookLoss):
    """mean over latents of sum_k w_k |e_k - sg[z]|^2 / D, + beta |sg[e] - z|^2; w is 1 for the chosen code.

    For the other codes w_k = min(1, strength K p_k), with p the softmax of -|z - e_k|^2 / temperature: a kernel around each
    latent, a constant in the gradient. The temperature falls in steps, so that in the end only the chosen code moves.
    As released for CelebA. No N x K matrix is kept.

    Args:
        beta: Weight of the commitment term; 0.25 as released.
        strength: 0.01 as released.
        temperature: Of the first steps, in squared units of the latent; 1 as released.
        decay: Factor on the temperature after every `decay_steps` training steps; 0.5 for each epoch as released.
        decay_steps: Training forwards (steps x micro-batches) between them; 0 to keep the temperature.

    Raises:
        UserError: Negative weights or steps, a temperature of 0 or less, a decay outside (0, 1].

    Attributes:
        steps: Training forwards so far.
    """

    steps: Tensor

    def __init__(
        self,
        beta: float = 0.25,
        strength: float = 0.01,
        temperature: float = 1.0,
        decay: float = 0.5,
        decay_steps: int = 0,
    ) -> None:
        super().__init__()
        if min(beta, strength, decay_steps) < 0 or not temperature > 0 or not 0 < decay <= 1:
            raise UserError(
                'NonStationaryLoss: beta, strength and decay_steps must be 0 or more, temperature above 0 and decay in (0, 1], '
                f'got {beta}, {strength}, {decay_steps}, {temperature} and {decay}.'
            )
        self.beta, self.strength, self.decay, self.decay_steps = beta, strength, decay, decay_steps
        self.first_temperature = temperature
        self.register_buffer('steps', torch.zeros((), dtype=torch.int64))

    @property
    def temperature(self) -> Tensor:
        """The temperature of the next training forward, a scalar on the device; at least 1e-8, as released."""
        falls = torch.div(self.steps, max(1, self.decay_steps), rounding_mode='floor') * bool(self.decay_steps)
        return (self.first_temperature * self.decay**falls).clamp(min=1e-8)

    def after_step(self) -> None:
        self.steps += 1

    def forward(self, z_ND: Tensor, code_vectors_ND: Tensor, z_q_ND: Tensor, codebook_KD: Tensor) -> dict[str, Tensor]:
        """Weighted scalar terms; see `VQLoss.forward`, and `codebook_KD` is the mapped codebook."""
        weight_K, pull_KD, square = self._pulls(z_ND.detach(), codebook_KD.detach())
        dense = (weight_K * codebook_KD.square().sum(1)).sum() - 2 * (pull_KD * codebook_KD).sum() + square
        terms = {'dense': dense / z_ND.numel()}
        if self.beta:
            terms['commitment'] = self.beta * F.mse_loss(z_ND, code_vectors_ND.detach())
        return terms

    @torch.no_grad()
    def _pulls(self, z_ND: Tensor, codebook_KD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Over all latents: the sum of each code's weights (K,), that of weights x latents (K, D), of weights x |z|^2."""
        K = len(codebook_KD)
        weight_K, pull_KD, square = codebook_KD.new_zeros(K), torch.zeros_like(codebook_KD), codebook_KD.new_zeros(())
        for z in z_ND.split(chunk_rows(codebook_KD)):
            distance_NK = torch.cdist(z, codebook_KD).square()
            w_NK = ((-distance_NK / self.temperature).softmax(1) * (self.strength * K)).clamp(max=1.0)
            w_NK.scatter_(1, distance_NK.argmin(1, keepdim=True), 1.0)
            weight_K += w_NK.sum(0)
            pull_KD += w_NK.t() @ z
            square += (w_NK.sum(1) * z.square().sum(1)).sum()
        return weight_K, pull_KD, square
