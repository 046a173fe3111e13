"""Statistics of codes: how they are used, and what latents they were assigned."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def perplexity(histogram_K: Tensor) -> float:
    """exp(entropy) of the codes' frequencies: the number of equally used codes with the same entropy, 1 to K."""
    p_K = histogram_K.double()
    p_K = p_K[p_K > 0] / p_K.sum()
    return (-(p_K * p_K.log()).sum()).exp().item()


def assigned_latents(indices_N: Tensor, z_ND: Tensor, codebook_size: int) -> tuple[Tensor, Tensor]:
    """Count (K,) and sum (K, D) of the latents that each code was assigned, over all ranks, in one all-reduce.

    Both in float32, in which counts are exact up to 2^24.
    """
    N, D = z_ND.shape
    statistics = torch.zeros(codebook_size, D + 1, device=z_ND.device)
    counts_K, sums_KD = statistics[:, D], statistics[:, :D]
    counts_K.index_add_(0, indices_N, counts_K.new_ones(N))
    sums_KD.index_add_(0, indices_N, z_ND.float())
    if dist.is_initialized():
        dist.all_reduce(statistics)
    return counts_K, sums_KD
