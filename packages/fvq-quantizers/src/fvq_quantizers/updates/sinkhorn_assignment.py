"""Codes by optimal transport (OptVQ, Zhang et al., 2024, arXiv 2412.15195)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from fvq_core.errors import UserError
from fvq_core.ops.nearest_code import shift
from fvq_core.ops.ranks import gather_over_ranks
from fvq_core.registry import CODEBOOK_UPDATES

from ..chunked_softmax import chunk_rows
from ..distances import SquaredL2
from .gradient_update import GradientUpdate

if TYPE_CHECKING:
    from ..vector_quantizer import VectorQuantizer


@CODEBOOK_UPDATES.register_module()
class SinkhornAssignment(GradientUpdate):
    """In training a batch is distributed over all codes, so that each gets latents and with them gradients.

    The latents of all ranks are transported to the codes at the least total distance, with entropic smoothing; each latent
    is assigned the code that gets most of it. In evaluation it is assigned the nearest code. (The released code transports
    there too, so an image's codes depend on the rest of its batch, and code usage is made by the transport.)

    Distances are divided by their standard deviation over all pairs. The plan exp(-inverse_temperature x distance) is then
    scaled in turn until codes and latents have equal shares, in logarithms, a chunk of rows at a time: no N x K matrix is
    kept. Distances and shares are over all ranks; in the released code deviation and least distance are per rank.

    Args:
        inverse_temperature: Weight of the distance against the entropy; 10 as released (there called epsilon). The larger,
            the less smooth.
        iterations: Sinkhorn iterations, each over codes and then latents; 5 as released.
        eps: Added to every sum that the plan is divided by; 1e-8 as released. Plans start far below it, so codes far from
            all latents get no share in few iterations; 0 is the plain algorithm.

    Raises:
        UserError: An inverse temperature that is not above 0, no iterations, a negative eps, or another distance than
            `SquaredL2`.
    """

    acts_before_assignment = True

    def __init__(self, inverse_temperature: float = 10.0, iterations: int = 5, eps: float = 1e-8) -> None:
        super().__init__()
        if not inverse_temperature > 0 or iterations < 1 or not eps >= 0:
            raise UserError(
                'SinkhornAssignment: inverse_temperature must be above 0, iterations 1 or more and eps 0 or more, got '
                f'{inverse_temperature}, {iterations} and {eps}.'
            )
        self.inverse_temperature, self.iterations, self.eps = inverse_temperature, iterations, eps

    def attach(self, codebook_KD: Tensor, normalize: nn.Module, distance: nn.Module) -> None:
        if not isinstance(distance, SquaredL2):
            raise UserError(
                f'SinkhornAssignment: needs the Euclidean distance, got {type(distance).__name__}; use SquaredL2.'
            )

    @torch.no_grad()
    def before_assignment(self, quantizer: VectorQuantizer, z_ND: Tensor) -> Tensor:
        compared = quantizer.normalize.for_search
        return self.assign(compared(z_ND), compared(quantizer.codebook()))

    def assign(self, z_ND: Tensor, codebook_KD: Tensor) -> Tensor:
        """Indices (N,) of the codes that get most of each latent."""
        rows, K, shift_D = chunk_rows(codebook_KD), len(codebook_KD), shift(codebook_KD)
        if shift_D is not None:  # same distances with less rounding
            z_ND, codebook_KD = z_ND - shift_D, codebook_KD - shift_D
        chunks, of_latents = z_ND.split(rows), list(z_ND.new_zeros(len(z_ND)).split(rows))
        pairs, least, deviation = distance_statistics(chunks, codebook_KD)
        log_eps = torch.tensor(self.eps, device=z_ND.device).log()

        def log_kernel(chunk: Tensor) -> Tensor:
            return (least - torch.cdist(chunk, codebook_KD)).mul_(self.inverse_temperature / deviation)

        # The plan is exp(log_kernel + of_latents + of_codes). It is first scaled to sum to 1, then each code to its share.
        sums_K = over_all(torch.stack([log_kernel(chunk).logsumexp(0) for chunk in chunks]))
        of_all = -torch.logaddexp(sums_K.logsumexp(0), log_eps)
        of_codes = of_all - torch.logaddexp(sums_K + of_all, log_eps) - math.log(K)
        for _ in range(self.iterations - 1):
            sums = []
            for n, chunk in enumerate(chunks):
                log_NK = log_kernel(chunk) + of_codes
                sums_N = log_NK.logsumexp(1) + of_latents[n]
                of_latents[n] = of_latents[n] - torch.logaddexp(sums_N, log_eps) - (pairs / K).log()
                sums.append((log_NK + of_latents[n][:, None]).logsumexp(0))
            of_codes = of_codes - torch.logaddexp(over_all(torch.stack(sums)), log_eps) - math.log(K)
        return torch.cat([(log_kernel(chunk) + of_codes).argmax(1) for chunk in chunks])


def over_all(log_sums: Tensor) -> Tensor:
    """log of a sum, along dimension 0 and over ranks, from the logs of its terms."""
    return gather_over_ranks(log_sums.logsumexp(0, keepdim=True)).logsumexp(0)


def distance_statistics(chunks: Sequence[Tensor], codebook_KD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Count, minimum and standard deviation of the distances between all latents of all ranks and all codes."""
    sums, least = codebook_KD.new_zeros(3, dtype=torch.float64), []
    for chunk in chunks:
        distances_NK = torch.cdist(chunk, codebook_KD)
        least.append(distances_NK.min())
        sums[0] += distances_NK.numel()
        sums[1] += distances_NK.sum(dtype=torch.float64)
        sums[2] += distances_NK.square_().sum(dtype=torch.float64)
    count, first, second = gather_over_ranks(sums[None]).sum(0)
    variance = (second - first.square() / count) / (count - 1).clamp_min(1)
    everywhere = gather_over_ranks(torch.stack(least).min()[None]).min()
    return count.float(), everywhere, variance.clamp_min(1e-12).sqrt().float()
