"""Lookup-free quantization (MAGVIT-v2, Yu et al., 2024, section 3.1): the signs of the latent are the code."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.registry import QUANTIZERS

from .binary_codes import bits_of, entropies_of_bits
from .digits import Order
from .implicit_quantizer import ImplicitQuantizer


@QUANTIZERS.register_module()
class LFQ(ImplicitQuantizer):
    """sign(z), with an implicit codebook of K = 2^C corners. Defaults are those of Open-MAGVIT2.

    In training: `commitment_weight` |z - sg[code]|^2 + `entropy_weight` x (`sample_weight` x mean entropy of a latent's
    soft choice - `batch_weight` x entropy of the mean choice), the soft choice being softmax(2 z.c / temperature) over
    all K codes. Neither entropy needs an N x K matrix; see `binary_codes`. The mean choice is over all ranks, as in
    vector-quantize-pytorch; in Open-MAGVIT2 each rank has its own.

    Args:
        codebook_size: K, a power of 2; 2^18 in Open-MAGVIT2.
        code_dim: D; by default groups x log2 K. Any other D puts linear maps around the signs.
        groups: Codes per position, each of log2 K channels.
        factorized_bits: Channels of each sub-token that a generator sees instead of one index, in the order of channels;
            (6, 12) in Open-MAGVIT2's generator. `codebook_indices` still counts usage over all K.
        order: 'little': channel 0 is the lowest bit of an index (Open-MAGVIT2); 'big': the highest (vector-quantize-pytorch).
        codebook_scale: v; codes are +-v.
        spherical: Latents and codes on the sphere of radius v.
        commitment_weight: Weight of the commitment term; 0.25 in Open-MAGVIT2.
        entropy_weight: Weight of both entropies, 0.1 in Open-MAGVIT2; at 0 neither is computed.
        temperature: Temperature of the soft choice; 0.01 in both projects, whatever their arguments say.
        sample_weight: Weight of the latents' own entropy; 1 in both.
        batch_weight: Weight of the mean choice's entropy; 1 in both.
        clamp_probabilities: Clamp probabilities at 1e-5 inside the logarithms (vector-quantize-pytorch) instead of adding
            it. N x K probabilities are then computed, in chunks.
        pool_groups: One mean choice over all groups (Open-MAGVIT2) instead of one per group (vector-quantize-pytorch).
        project: See `ImplicitQuantizer`.
        project_bias: See `ImplicitQuantizer`.
    """

    def __init__(
        self,
        codebook_size: int,
        code_dim: int | None = None,
        groups: int = 1,
        factorized_bits: Sequence[int] | None = None,
        order: Order = 'little',
        codebook_scale: float = 1.0,
        spherical: bool = False,
        commitment_weight: float = 0.25,
        entropy_weight: float = 0.1,
        temperature: float = 0.01,
        sample_weight: float = 1.0,
        batch_weight: float = 1.0,
        clamp_probabilities: bool = False,
        pool_groups: bool = False,
        project: bool | None = None,
        project_bias: bool = True,
    ) -> None:
        bits = bits_of('LFQ', codebook_size)
        if min(commitment_weight, entropy_weight) < 0 or min(temperature, codebook_scale) <= 0:
            raise UserError(
                'LFQ: weights must be 0 or more, temperature and codebook_scale above 0, got '
                f'{commitment_weight}, {entropy_weight}, {temperature} and {codebook_scale}.'
            )
        super().__init__((2,) * bits, code_dim, groups, factorized_bits, order, project, project_bias)
        self.spherical, self.radius = spherical, codebook_scale
        self.value = codebook_scale / bits**0.5 if spherical else codebook_scale
        self.commitment_weight, self.entropy_weight, self.temperature = commitment_weight, entropy_weight, temperature
        self.sample_weight, self.batch_weight = sample_weight, batch_weight
        self.clamp_probabilities, self.pool_groups = clamp_probabilities, pool_groups

    def bound(self, z_NGC: Tensor) -> Tensor:
        return F.normalize(z_NGC, dim=-1) * self.radius if self.spherical else z_NGC

    def choose(self, x_NGC: Tensor) -> Tensor:
        return (x_NGC > 0).long()

    def values(self, digits_NGC: Tensor) -> Tensor:
        return (digits_NGC * 2 - 1) * self.value

    def losses(self, x_NGC: Tensor, codes_NGC: Tensor) -> dict[str, Tensor]:
        terms = {}
        if self.commitment_weight:
            terms['commitment'] = self.commitment_weight * F.mse_loss(x_NGC, codes_NGC)
        if self.entropy_weight:
            sample, batch = self.entropies(x_NGC)
            terms['entropy'] = self.entropy_weight * (self.sample_weight * sample - self.batch_weight * batch)
        return terms

    def entropies(self, x_NGC: Tensor) -> tuple[Tensor, Tensor]:
        """Mean entropy of the latents' soft choices, and entropy of the mean choice over all ranks; scalars in nats."""
        log_odds_NGC = 4.0 * self.value / self.temperature * x_NGC
        return entropies_of_bits(log_odds_NGC, clamp=self.clamp_probabilities, pool_groups=self.pool_groups)
