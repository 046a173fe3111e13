"""What the search calls best: a pair's distance or product in float64, in one fixed order."""

from __future__ import annotations

import torch
from torch import Tensor

LANES = 32  # partial sums of a pair; a constant of the definition, not a setting
VALUES = 2**20  # of pairs compared at a time


def rescore(z_PD: Tensor, codes_PD: Tensor, distance: str) -> Tensor:
    """Badness of pairs (..., D), float64: the squared distance, or minus the dot product; leading axes broadcast.

    The operands are taken as they come, in float64. Lane i adds the terms of channels i, i + LANES, i + 2 LANES, ... in this
    order; then the upper half of the lanes is added to the lower half until one is left. Each operation rounds, none is
    fused, so every device and shape of the call gives the same bits.
    """
    z, codes = z_PD.double(), codes_PD.double()
    terms = (z - codes).square() if distance == 'l2' else -(z * codes)
    D = terms.shape[-1]
    width = min(LANES, 1 << (D - 1).bit_length())  # the other lanes are empty
    if D % width:
        terms = torch.nn.functional.pad(terms, (0, -D % width))
    lanes, *others = terms.split(width, -1)
    for part in others:
        lanes = lanes + part
    while lanes.shape[-1] > 1:
        lower, upper = lanes.chunk(2, -1)
        lanes = lower + upper
    return lanes[..., 0]


def best_of_pairs(z_ND: Tensor, codebook_KD: Tensor, rows_P: Tensor, codes_P: Tensor, distance: str) -> Tensor:
    """For each row the lowest index among its candidates that `rescore` calls best, (N,); K for rows without any.

    Args:
        rows_P: Rows of the candidates.
        codes_P: Their codes.
    """
    count = max(1, VALUES // max(1, z_ND.shape[1]))
    values = [
        rescore(z_ND[rows], codebook_KD[codes], distance)
        for rows, codes in zip(rows_P.split(count), codes_P.split(count), strict=True)
    ]
    values_P = torch.cat(values)
    best_N = values_P.new_full((len(z_ND),), torch.inf).scatter_reduce_(0, rows_P, values_P, 'amin')
    chosen = values_P == best_N[rows_P]
    nothing_N = codes_P.new_full((len(z_ND),), len(codebook_KD))
    return nothing_N.scatter_reduce_(0, rows_P[chosen], codes_P[chosen], 'amin')


def first_with_key(keys_K: Tensor) -> Tensor:
    """For each code the lowest index of a code with the same key, (K,), without waiting for the device."""
    keys_K, order_K = keys_K.sort(stable=True)
    places_K = torch.arange(len(keys_K), device=keys_K.device)
    starts_K = places_K.clone()
    starts_K[1:].mul_(keys_K[1:] != keys_K[:-1])
    return torch.empty_like(order_K).scatter_(0, order_K, order_K[starts_K.cummax(0).values])


def first_of_equal(codebook_KD: Tensor) -> Tensor:
    """For each code the lowest index of a code with the same bits, (K,); now and then its own where a lower one exists."""
    weights_D = torch.linspace(1.0, 2.0, codebook_KD.shape[1], dtype=torch.float64, device=codebook_KD.device)
    first_K = first_with_key(torch.cat([(codes.double() * weights_D).sum(1) for codes in codebook_KD.split(4096)]))
    same = [
        (codes == codebook_KD[first]).all(1)
        for codes, first in zip(codebook_KD.split(4096), first_K.split(4096), strict=True)
    ]
    return torch.where(torch.cat(same), first_K, torch.arange(len(codebook_KD), device=codebook_KD.device))
