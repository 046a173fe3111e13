"""Precision and recall of samples by neighbourhoods of features (Kynkaanniemi et al., NeurIPS 2019)."""

from __future__ import annotations

from contextlib import suppress

import torch
from torch import Tensor

from .blocks import blocks, near_zero, need_neighbours, squared_radii
from .byte_vectors import byte_vectors, bytes_are_faster, squared_distances
from .near_pairs import TooManyNearPairs, near_pairs
from .near_pairs import squared_radii as squared_radii_by_bytes


def precision_recall(
    reference_ND: Tensor, samples_MD: Tensor, neighbours: int = 3, distances: str = 'float32'
) -> tuple[float, float]:
    """The share of samples inside the reference's manifold, and of the reference inside the samples'.

    A set's manifold is the union of balls around its vectors, each up to and with its k-th nearest neighbour in the set.

    Args:
        neighbours: k.
        distances: `'float32'`, or `'float16'` as ADM computes them; see `blocks`.

    Raises:
        UserError: A set of at most k vectors.
    """
    need_neighbours(min(len(reference_ND), len(samples_MD)), neighbours)
    inside_real_M = inside_made_N = None
    if distances == 'float32' and bytes_are_faster(reference_ND, samples_MD, neighbours):
        with suppress(TooManyNearPairs):
            inside_real_M, inside_made_N = inside_by_bytes(reference_ND, samples_MD, neighbours)
    if inside_real_M is None or inside_made_N is None:
        inside_real_M, inside_made_N = inside_by_blocks(reference_ND, samples_MD, neighbours, distances)
    return inside_real_M.double().mean().item(), inside_made_N.double().mean().item()


def inside_by_blocks(
    reference_ND: Tensor, samples_MD: Tensor, neighbours: int, distances: str
) -> tuple[Tensor, Tensor]:
    """Which samples are inside the reference's manifold (M,), and which of the reference inside the samples' (N,)."""
    if distances == 'float32':
        reference_ND, samples_MD = near_zero(reference_ND, samples_MD)
    real_N = squared_radii(reference_ND, neighbours, distances)
    made_M = squared_radii(samples_MD, neighbours, distances)
    inside_real_M = torch.zeros(len(samples_MD), dtype=torch.bool, device=samples_MD.device)
    inside_made_N = torch.zeros(len(reference_ND), dtype=torch.bool, device=samples_MD.device)
    for rows, columns, block in blocks(samples_MD, reference_ND, distances):
        inside_real_M[rows] |= (block <= real_N[columns]).any(1)
        inside_made_N[columns] |= (block <= made_M[rows, None]).any(0)
    return inside_real_M, inside_made_N


def inside_by_bytes(reference_ND: Tensor, samples_MD: Tensor, neighbours: int) -> tuple[Tensor, Tensor]:
    """The same by products of bytes, measuring only pairs that can decide something in float32."""
    real, made = byte_vectors(reference_ND.float(), samples_MD.float())
    real_N, made_M = squared_radii_by_bytes(real, neighbours), squared_radii_by_bytes(made, neighbours)
    inside_real_M = torch.zeros(len(samples_MD), dtype=torch.bool)
    inside_made_N = torch.zeros(len(reference_ND), dtype=torch.bool)
    for i, j, low, high in near_pairs(made, real, made_M, real_N):
        mark(inside_real_M, inside_made_N, i, j, high, made_M, real_N)
        open_i, open_j = ~inside_real_M[i] & (low <= real_N[j]), ~inside_made_N[j] & (low <= made_M[i])
        undecided = open_i | open_j
        i, j = i[undecided], j[undecided]
        mark(inside_real_M, inside_made_N, i, j, squared_distances(made, real, i, j), made_M, real_N)
    return inside_real_M[made.order_N.argsort()], inside_made_N[real.order_N.argsort()]


def mark(
    inside_real_M: Tensor, inside_made_N: Tensor, i: Tensor, j: Tensor, distance: Tensor, made_M: Tensor, real_N: Tensor
) -> None:
    """Note, in place, which samples i and references j a ball around the other holds."""
    inside_real_M[i[distance <= real_N[j]]] = True
    inside_made_N[j[distance <= made_M[i]]] = True
