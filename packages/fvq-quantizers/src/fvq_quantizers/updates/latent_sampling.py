"""Counts and samples, equal on all ranks, for updates that write latents into the codebook."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ..shifted_logits import shifted_logits

MAX_SCORES = 2**23


def code_counts(indices_N: Tensor, codebook_size: int) -> Tensor:
    """How often each code was assigned, summed over ranks, int64 (K,)."""
    counts_K = torch.zeros(codebook_size, dtype=torch.int64, device=indices_N.device)
    counts_K.scatter_add_(0, indices_N, torch.ones_like(indices_N))  # bincount would wait for the device
    if dist.is_initialized():
        dist.all_reduce(counts_K)
    return counts_K


def random_latents(z_ND: Tensor, count: int) -> Tensor:
    """`count` random latents (count, D) without repetition, drawn by rank 0 from its own and sent to the others.

    If there are fewer latents, all are repeated equally often, with a little noise so that no two are equal (as in RQ-VAE).
    """
    N, D = z_ND.shape
    order = torch.randperm(-(-count // N) * N, device=z_ND.device)[:count]
    drawn = z_ND[order % N]
    if count > N:
        drawn = drawn + torch.rand_like(drawn) * (0.01 / D**0.5)
    return from_rank_zero(drawn)


def from_rank_zero(tensor: Tensor) -> Tensor:
    """Rank 0's tensor on every rank, in place."""
    if dist.is_initialized():
        dist.broadcast(tensor, 0)
    return tensor


def best_latents(codebook_KD: Tensor, z_ND: Tensor, values_ND: Tensor, distance: Any, sample: bool = False) -> Tensor:
    """The best latent of each code, over all ranks, (K, D); no N x K matrix is made.

    Codes and latents are as the search sees them; `values_ND` is what to return for each latent. The distance's logits,
    with codes and latents exchanged, rank the latents of a code; with `sample` one is drawn from their softmax instead,
    by adding Gumbel noise, which each rank can do by itself.
    """
    scores, rows, logits_of = [], [], shifted_logits(distance, codebook_KD)
    for chunk in codebook_KD.split(max(1, MAX_SCORES // z_ND.shape[0])):
        logits = logits_of(chunk, z_ND)
        if sample:
            noise = torch.empty_like(logits).exponential_().clamp_(min=torch.finfo(logits.dtype).tiny)
            logits = logits - noise.log_()
        best = logits.max(1)
        scores.append(best.values)
        rows.append(best.indices)
    score_K, chosen_KD = torch.cat(scores), values_ND[torch.cat(rows)]
    if not dist.is_initialized():
        return chosen_KD
    every_rank = [torch.empty_like(score_K) for _ in range(dist.get_world_size())]
    dist.all_gather(every_rank, score_K)
    mine_K = torch.stack(every_rank).argmax(0) == dist.get_rank()
    chosen_KD = torch.where(mine_K.unsqueeze(1), chosen_KD, 0.0)
    dist.all_reduce(chosen_KD)
    return chosen_KD
