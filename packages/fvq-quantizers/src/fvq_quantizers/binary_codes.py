"""Entropies of soft choices among all 2^C sign vectors, without the N x 2^C matrix (LFQ and its kin).

For codes of +-v, softmax(2 z.c / temperature) is a product over channels: bit c is 1 with probability sigmoid(a_c) with
a_c = 4 v z_c / temperature. So a latent's own entropy is a sum over bits, and the mean choice over latents is a matrix
product of two halves of the bits: 2^18 codes need N x 2 x 2^9 numbers. Both are exact.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.ops.nearest_code import full_precision
from fvq_core.ops.ranks import mean_over_ranks

from .chunked_softmax import over_row_chunks


def bits_of(owner: str, codebook_size: int) -> int:
    """log2 K; raises unless K is a power of 2, at least 2."""
    if not isinstance(codebook_size, int) or codebook_size < 2 or codebook_size.bit_count() != 1:
        raise UserError(f'{owner}: codebook_size must be a power of 2, got {codebook_size}; 2^18 is {2**18}.')
    return codebook_size.bit_length() - 1


def entropies_of_bits(
    log_odds_NGC: Tensor, eps: float = 1e-5, clamp: bool = False, pool_groups: bool = False
) -> tuple[Tensor, Tensor]:
    """Mean entropy of the latents' soft choices, and entropy of their mean over the latents of every rank; scalars.

    Args:
        log_odds_NGC: log P(bit = 1) - log P(bit = 0) of each channel of each group.
        eps: Added inside the logarithm of the mean choice, log(p + eps).
        clamp: log(max(p, eps)) instead, for both entropies, as in vector-quantize-pytorch. A latent's entropy is then not
            a sum over bits, and N x 2^C probabilities are computed, in chunks.
        pool_groups: One mean choice over the latents of all groups, instead of one per group and the mean of their
            entropies.
    """
    N, G, C = log_odds_NGC.shape
    if clamp:
        parts = over_row_chunks(lambda a_NC: clamped_entropy(a_NC, eps), log_odds_NGC.flatten(0, 1), 2**C)
        sample = torch.stack(parts).sum() / (N * G)
    else:
        sample = bernoulli_entropy(log_odds_NGC).sum(-1).mean()
    pooled = [log_odds_NGC.flatten(0, 1)] if pool_groups else log_odds_NGC.unbind(1)
    mean_GK = mean_over_ranks(torch.stack([mean_choice(a_NC) for a_NC in pooled]))
    logarithm = mean_GK.clamp_min(eps).log() if clamp else (mean_GK + eps).log()
    return sample, -(mean_GK * logarithm).sum(1).mean()


def bernoulli_entropy(log_odds: Tensor) -> Tensor:
    """Entropy of a bit, elementwise, in nats; accurate far from 0 too."""
    a = log_odds.abs()
    return F.softplus(-a) + a * torch.sigmoid(-a)


def pattern_probabilities(log_odds_NC: Tensor) -> Tensor:
    """The probability of each of the 2^C patterns of independent bits, (N, 2^C), channel 0 the lowest bit."""
    p_NK = log_odds_NC.new_ones(len(log_odds_NC), 1)
    for a_N in log_odds_NC.unbind(1):
        p_NK = torch.cat([p_NK * torch.sigmoid(-a_N)[:, None], p_NK * torch.sigmoid(a_N)[:, None]], 1)
    return p_NK


def halves(log_odds_NC: Tensor) -> tuple[Tensor, Tensor]:
    """Pattern probabilities of the first and of the last channels; a code's probability is a product of the two."""
    middle = log_odds_NC.shape[1] // 2
    return pattern_probabilities(log_odds_NC[:, :middle]), pattern_probabilities(log_odds_NC[:, middle:])


def mean_choice(log_odds_NC: Tensor) -> Tensor:
    """The mean over latents of the soft choice, (2^C,), in an order of its own."""
    N, C = log_odds_NC.shape

    def chunk(a_NC: Tensor) -> Tensor:
        with full_precision(a_NC.device.type):
            low, high = halves(a_NC)
            return low.t() @ high

    parts = over_row_chunks(chunk, log_odds_NC, 2 ** ((C + 1) // 2))
    return torch.stack(parts).sum(0).flatten() / N


def clamped_entropy(log_odds_NC: Tensor, eps: float) -> Tensor:
    """The sum over latents of -sum p log max(p, eps); N x 2^C numbers."""
    low, high = halves(log_odds_NC)
    p_NK = (low[:, :, None] * high[:, None]).flatten(1)
    return -(p_NK * p_NK.clamp_min(eps).log()).sum()
