"""Density and coverage: precision and recall that outliers do not inflate (Naeem et al., ICML 2020)."""

from __future__ import annotations

from contextlib import suppress

import torch
from torch import Tensor

from .blocks import blocks, near_zero, need_neighbours, squared_radii
from .byte_vectors import byte_vectors, bytes_are_faster, squared_distances
from .near_pairs import TooManyNearPairs, near_pairs
from .near_pairs import squared_radii as squared_radii_by_bytes


def density_coverage(reference_ND: Tensor, samples_MD: Tensor, neighbours: int = 5) -> tuple[float, float]:
    """How many of the reference's balls a sample lies in, over k, on average; and the share of balls with a sample inside.

    A ball ends before the k-th nearest neighbour of its center in the reference, as in the authors' `prdc` package.
    Density may exceed 1.

    Args:
        neighbours: k.

    Raises:
        UserError: A reference of at most k vectors.
    """
    need_neighbours(len(reference_ND), neighbours)
    samples_N = None
    if bytes_are_faster(reference_ND, samples_MD, neighbours):
        with suppress(TooManyNearPairs):
            samples_N = samples_by_bytes(reference_ND, samples_MD, neighbours)
    if samples_N is None:
        samples_N = samples_by_blocks(reference_ND, samples_MD, neighbours)
    return int(samples_N.sum()) / (neighbours * len(samples_MD)), (samples_N > 0).double().mean().item()


def samples_by_blocks(reference_ND: Tensor, samples_MD: Tensor, neighbours: int) -> Tensor:
    """How many samples the ball around each vector of the reference holds, (N,) int64."""
    reference_ND, samples_MD = near_zero(reference_ND, samples_MD)
    real_N = squared_radii(reference_ND, neighbours)
    samples_N = torch.zeros(len(reference_ND), dtype=torch.int64, device=reference_ND.device)
    for _, columns, block in blocks(samples_MD, reference_ND):
        samples_N[columns] += (block < real_N[columns]).sum(0)
    return samples_N


def samples_by_bytes(reference_ND: Tensor, samples_MD: Tensor, neighbours: int) -> Tensor:
    """The same by products of bytes, measuring only pairs near a ball's edge in float32."""
    real, made = byte_vectors(reference_ND.float(), samples_MD.float())
    real_N = squared_radii_by_bytes(real, neighbours)
    samples_N = torch.zeros(len(reference_ND), dtype=torch.int64)
    for i, j, low, high in near_pairs(made, real, torch.zeros(len(samples_MD)), real_N):
        samples_N += torch.bincount(j[high < real_N[j]], minlength=len(samples_N))
        edge = (low < real_N[j]) & (high >= real_N[j])
        i, j = i[edge], j[edge]
        inside = squared_distances(made, real, i, j) < real_N[j]
        samples_N += torch.bincount(j[inside], minlength=len(samples_N))
    return samples_N[real.order_N.argsort()]
