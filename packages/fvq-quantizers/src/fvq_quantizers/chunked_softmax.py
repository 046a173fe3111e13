"""Softmax over the codebook without an N x K matrix: rows in chunks, recomputed in the backward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from fvq_core.ranks import mean_over_ranks

MAX_SCORES = 2**23


def over_row_chunks(function: Callable[[Tensor], Any], z_ND: Tensor, codebook_size: int) -> list[Any]:
    """`function` on chunks of rows small enough that a chunk's scores fit `MAX_SCORES`, each checkpointed."""
    rows = max(1, MAX_SCORES // codebook_size)
    return [checkpoint(function, chunk, use_reentrant=False) for chunk in z_ND.split(rows)]


def soft_codes(z_ND: Tensor, codebook_KD: Tensor, values_KD: Tensor, distance: Any, temperature: float = 1.0) -> Tensor:
    """softmax(logits / temperature) @ values, (N, D)."""

    def chunk(z: Tensor) -> Tensor:
        return (distance.logits(z, codebook_KD) / temperature).softmax(1) @ values_KD

    return torch.cat(over_row_chunks(chunk, z_ND, codebook_KD.shape[0]))


def entropies(
    z_ND: Tensor, codebook_KD: Tensor, distance: Any, temperature: float, eps: float
) -> tuple[Tensor, Tensor]:
    """Mean entropy of the rows' soft choices, and entropy of their mean over the rows of every rank; scalars.

    `eps` stands inside both logarithms' arguments as MaskGIT's and LlamaGen's code has it.
    """

    def chunk(z: Tensor) -> tuple[Tensor, Tensor]:
        logits = distance.logits(z, codebook_KD) / temperature
        p = logits.softmax(1)
        return -(p * (logits + eps).log_softmax(1)).sum(), p.sum(0)

    parts = over_row_chunks(chunk, z_ND, codebook_KD.shape[0])
    N = z_ND.shape[0]
    sample_entropy = torch.stack([entropy for entropy, _ in parts]).sum() / N
    mean_K = mean_over_ranks(torch.stack([p_K for _, p_K in parts]).sum(0) / N)
    return sample_entropy, -(mean_K * (mean_K + eps).log()).sum()
