"""Codes by optimal transport (OptVQ, Zhang et al., 2024, arXiv 2412.15195)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.ops.nearest_code import shift
from fvq_core.ops.ranks import gather_over_ranks
from fvq_core.registry import DISTANCES

from ..chunked_softmax import chunk_rows
from .squared_l2 import SquaredL2

COSTS = ('standardized', 'per_dimension', 'plain')
Gather = Callable[[Tensor], Tensor]


@DISTANCES.register_module()
class OptimalTransport(SquaredL2):
    """In training a batch is distributed over all codes, so that each gets latents and with them gradients.

    The latents of all ranks are transported to the codes at the least total distance, with entropic smoothing; each latent
    is assigned the code that gets most of it. In evaluation it is assigned the nearest code, so that an image's codes depend
    on nothing else. The released code transports there too; `at_inference` does that, within the batch of one rank.

    The plan exp(-inverse_temperature x cost) is scaled in turn until codes and latents have equal shares, in logarithms, a
    chunk of rows at a time: no N x K matrix is kept. In training costs and shares are over all ranks; in the released code
    deviation and least distance are per rank.

    Args:
        inverse_temperature: Weight of the cost against the entropy; 10 as released (there called epsilon). The larger, the
            less smooth.
        iterations: Sinkhorn iterations, each over codes and then latents; 5 as released.
        eps: Added to every sum that the plan is divided by; 1e-8 as released. Plans start far below it, so codes far from
            all latents get no share in few iterations; 0 is the plain algorithm.
        cost: What the Euclidean distance (not squared) becomes: `'standardized'`, less the least and in standard deviations
            over all pairs; `'per_dimension'`, divided by the square root of D; `'plain'`. The released names are all, dim
            and null.
        draw: Draw a latent's code from its shares instead of taking the largest, as the released class does by default and no
            released config.
        at_inference: Transport in evaluation too: the codes of an image then depend on the other images of its batch.

    Raises:
        UserError: An inverse temperature that is not above 0, no iterations, a negative eps, or an unknown cost.
    """

    def __init__(
        self,
        inverse_temperature: float = 10.0,
        iterations: int = 5,
        eps: float = 1e-8,
        cost: Literal['standardized', 'per_dimension', 'plain'] = 'standardized',
        draw: bool = False,
        at_inference: bool = False,
    ) -> None:
        super().__init__()
        if not inverse_temperature > 0 or iterations < 1 or not eps >= 0:
            raise UserError(
                'OptimalTransport: inverse_temperature must be above 0, iterations 1 or more and eps 0 or more, got '
                f'{inverse_temperature}, {iterations} and {eps}.'
            )
        if cost not in COSTS:
            raise UserError(f"OptimalTransport: unknown cost '{cost}'; choose from {', '.join(COSTS)}.")
        self.inverse_temperature, self.iterations, self.eps, self.cost = inverse_temperature, iterations, eps, cost
        self.draw, self.at_inference = draw, at_inference

    @property
    def takes_batches(self) -> bool:
        return self.training or self.at_inference

    def search(self, z_ND: Tensor, codebook_KD: Tensor) -> Tensor:
        """Indices (N,): of the codes that get most of each latent, or of the nearest."""
        return self.assign(z_ND, codebook_KD) if self.takes_batches else super().search(z_ND, codebook_KD)

    def assign(self, z_ND: Tensor, codebook_KD: Tensor) -> Tensor:
        """Indices (N,) of the codes that get most of each latent, or drawn by what they get."""
        plan = self.log_plan(z_ND, codebook_KD)
        if self.draw:
            return torch.cat([torch.multinomial(log_NK.softmax(1), 1).squeeze(1) for log_NK in plan])
        return torch.cat([log_NK.argmax(1) for log_NK in plan])

    def log_plan(self, z_ND: Tensor, codebook_KD: Tensor) -> Iterator[Tensor]:
        """The logarithm of how each latent is shared out, up to a constant per row: (n, K) for a chunk of rows at a time."""
        # Ranks need not evaluate equally many batches, so they meet only in training.
        gather = gather_over_ranks if self.training else Tensor.detach
        rows, K, shift_D = chunk_rows(codebook_KD), len(codebook_KD), shift(codebook_KD)
        if shift_D is not None:  # same distances with less rounding
            z_ND, codebook_KD = z_ND - shift_D, codebook_KD - shift_D
        chunks, of_latents = z_ND.split(rows), list(z_ND.new_zeros(len(z_ND)).split(rows))
        log_eps = torch.tensor(self.eps, device=z_ND.device).log()
        pairs, least, deviation = distance_statistics(chunks, codebook_KD, gather)
        if self.cost != 'standardized':
            root = math.sqrt(codebook_KD.shape[1]) if self.cost == 'per_dimension' else 1.0
            least, deviation = torch.zeros_like(least), torch.full_like(deviation, root)

        def log_kernel(chunk: Tensor) -> Tensor:
            return (least - torch.cdist(chunk, codebook_KD)).mul_(self.inverse_temperature / deviation)

        def over_all(log_sums: Tensor) -> Tensor:
            return gather(log_sums.logsumexp(0, keepdim=True)).logsumexp(0)

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
        yield from (log_kernel(chunk) + of_codes for chunk in chunks)


def distance_statistics(chunks: Sequence[Tensor], codebook_KD: Tensor, gather: Gather) -> tuple[Tensor, Tensor, Tensor]:
    """Count, minimum and standard deviation of the distances between all latents, of all that `gather` meets, and all codes."""
    sums, least = codebook_KD.new_zeros(3, dtype=torch.float64), []
    for chunk in chunks:
        distances_NK = torch.cdist(chunk, codebook_KD)
        least.append(distances_NK.min())
        sums[0] += distances_NK.numel()
        sums[1] += distances_NK.sum(dtype=torch.float64)
        sums[2] += distances_NK.square_().sum(dtype=torch.float64)
    count, first, second = gather(sums[None]).sum(0)
    variance = (second - first.square() / count) / (count - 1).clamp_min(1)
    everywhere = gather(torch.stack(least).min()[None]).min()
    return count.float(), everywhere, variance.clamp_min(1e-12).sqrt().float()
