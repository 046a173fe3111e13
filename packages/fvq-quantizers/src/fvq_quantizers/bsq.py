"""Binary spherical quantization (BSQ, Zhao, Xiong & Krähenbühl, 2024, arXiv 2406.07548)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.ops.ranks import mean_over_ranks
from fvq_core.registry import QUANTIZERS

from .binary_codes import bernoulli_entropy, bits_of
from .implicit_quantizer import ImplicitQuantizer


@QUANTIZERS.register_module()
class BSQ(ImplicitQuantizer):
    """Takes a latent u on the unit sphere to the nearest of K = 2^C corners, sign(u) / sqrt(C); the error is bounded.

    In training: `commitment_weight` |u - sg[code]|^2 + `entropy_weight` / `inverse_temperature` x (mean entropy of a latent's
    soft choice - entropy of the mean choice), the soft choice being softmax(2 u.c x `inverse_temperature`) as released. The
    bits of a soft choice are independent, so its entropy is a sum over bits. For the mean choice this is the paper's
    approximation (LFQ's is exact); it needs C numbers instead of K.

    Args:
        codebook_size: K, a power of 2; 2^18 and 2^36 in the paper.
        code_dim: D; log2 K by default. Another D puts linear maps around the signs.
        commitment_weight: Weight of the commitment term, summed over channels, mean over latents.
        entropy_weight: Weight of both entropies; at 0 neither is computed.
        bit_labels: A token for each bit instead of one index, so that a generator predicts bits (Infinity, Han et al., 2025).
            `codebook()` then has the two values of a bit, whatever K is.
        project: See `ImplicitQuantizer`.
    """

    def __init__(
        self,
        codebook_size: int,
        code_dim: int | None = None,
        commitment_weight: float = 0.25,
        entropy_weight: float = 0.1,
        inverse_temperature: float = 100.0,
        bit_labels: bool = False,
        project: bool | None = None,
    ) -> None:
        bits = bits_of('BSQ', codebook_size)
        if min(commitment_weight, entropy_weight) < 0 or inverse_temperature <= 0:
            raise UserError(
                'BSQ: weights must be 0 or more and inverse_temperature above 0, got '
                f'{commitment_weight}, {entropy_weight} and {inverse_temperature}.'
            )
        channels = 1 if bit_labels else bits
        super().__init__((2,) * channels, code_dim, groups=bits // channels, project=project)
        self.value = bits**-0.5
        self.commitment_weight, self.entropy_weight = commitment_weight, entropy_weight
        self.inverse_temperature = inverse_temperature

    def bound(self, z_NGC: Tensor) -> Tensor:
        return F.normalize(z_NGC.flatten(1), dim=1).view_as(z_NGC)

    def choose(self, x_NGC: Tensor) -> Tensor:
        return (x_NGC > 0).long()

    def values(self, digits_NGC: Tensor) -> Tensor:
        return (digits_NGC * 2 - 1) * self.value

    def losses(self, x_NGC: Tensor, codes_NGC: Tensor) -> dict[str, Tensor]:
        terms = {'commitment': self.commitment_weight * (x_NGC - codes_NGC).square().sum((1, 2)).mean()}
        if self.entropy_weight:
            sample, batch = self.entropies(x_NGC)
            terms['entropy'] = self.entropy_weight / self.inverse_temperature * (sample - batch)
        return terms

    def entropies(self, x_NGC: Tensor) -> tuple[Tensor, Tensor]:
        """Mean entropy of the soft choices, and the sum over bits of the entropy of their mean over all ranks; in nats."""
        log_odds_NGC = 4.0 * self.value * self.inverse_temperature * x_NGC
        mean_GC = mean_over_ranks(log_odds_NGC.sigmoid().mean(0))
        sample = bernoulli_entropy(log_odds_NGC).sum((1, 2)).mean()
        return sample, bernoulli_entropy(torch.logit(mean_GC, eps=1e-6)).sum()

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """At most 16 bits, which are the channels of the small encoders, also without a convolution between."""
        return dict(codebook_size=min(cfg['codebook_size'], 2**16))
