"""Lloyd's algorithm in bounded memory: any number of points, any number of centres, no N x K matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import UserError
from .nearest_code import nearest_code

CHUNK_POINTS = 2**16  # on the device at once


class Clusters(NamedTuple):
    """The result of `kmeans`.

    Attributes:
        centres_KD: float32, on the requested device.
        counts_K: int64, number of points nearest to each centre.
        inertia: Mean squared distance of a point to its centre.
        iterations: Number of times the centres were moved.
    """

    centres_KD: Tensor
    counts_K: Tensor
    inertia: float
    iterations: int


@torch.no_grad()
def kmeans(
    points_ND: Tensor,
    clusters: int,
    iterations: int = 20,
    seed: int = 0,
    device: torch.device | str | None = None,
    tolerance: float = 0.0,
    on_chunk: Callable[[int], object] | None = None,
) -> Clusters:
    """Cluster points by Lloyd's algorithm from random points.

    Assignments are exact (`nearest_code`), sums are float64, so the order in which a GPU adds does not matter. An
    empty centre moves to a point drawn with probability proportional to its squared distance to its own centre, as
    k-means++ draws.

    Memory: K x D in float64, two numbers per point, and one chunk of points on the device. The points may be in a file
    (`numpy.memmap`) and be of any floating dtype.

    Args:
        points_ND: Points (N, D).
        clusters: K.
        iterations: Largest number of times that the centres are moved.
        seed: Seed of the first centres and of moved ones.
        device: Device to compute on; by default the points' own.
        tolerance: Stop when the inertia falls by less than this fraction; at 0, only when nothing changes.
        on_chunk: Called with the number of points each time some were assigned; N for each of `iterations` + 1 rounds
            at most.

    Raises:
        UserError: Not a tensor of points, fewer points than clusters, or points that are not finite.
    """
    if not isinstance(points_ND, Tensor) or points_ND.dim() != 2 or not points_ND.is_floating_point() or iterations < 0:
        given = (
            f'{points_ND.dtype} {tuple(points_ND.shape)}' if isinstance(points_ND, Tensor) else type(points_ND).__name__
        )
        raise UserError(
            f'kmeans: expected a floating tensor (N, D) and 0 or more iterations, got {given} and {iterations}; NumPy arrays '
            'come in by torch.from_numpy.'
        )
    if not isinstance(clusters, int):
        raise UserError(f'kmeans: expected a whole number of clusters, got {clusters!r}.')
    N, D = points_ND.shape
    if not 1 <= clusters <= N:
        raise UserError(
            f'kmeans: expected from 1 to N clusters, got {clusters} for {N} points; give more points or fewer clusters.'
        )
    device = points_ND.device if device is None else torch.device(device)
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(N, generator=generator)[:clusters].sort().values
    centres_KD = points_ND[chosen.to(points_ND.device)].to(device, torch.float32)
    indices_N, distances_N = torch.full((N,), -1), torch.zeros(N)
    before = inertia = float('inf')
    counts_K = torch.zeros(clusters, dtype=torch.int64)
    for moved in range(iterations + 1):
        sums_KD = torch.zeros(clusters, D, dtype=torch.float64, device=device)
        changed = False
        for rows, chunk_ND in chunks(points_ND, device):
            assigned = nearest_code(chunk_ND, centres_KD)
            distances_N[rows] = (chunk_ND - centres_KD[assigned]).square().sum(1).cpu()
            sums_KD.index_add_(0, assigned, chunk_ND.double())
            assigned = assigned.cpu()
            changed = changed or not torch.equal(assigned, indices_N[rows])
            indices_N[rows] = assigned
            if on_chunk is not None:
                on_chunk(len(assigned))
        counts_K = torch.bincount(indices_N, minlength=clusters)
        inertia = distances_N.double().mean().item()
        if inertia != inertia or inertia == float('inf'):
            raise UserError('kmeans: the points hold numbers that are not finite; look at what made them.')
        if moved == iterations or not changed or before - inertia < tolerance * before:
            break
        before = inertia
        counts = counts_K.to(device).unsqueeze(1)
        centres_KD = torch.where(counts > 0, sums_KD / counts.clamp_min(1), centres_KD.double()).float()
        move_empty(centres_KD, counts_K, points_ND, distances_N, generator)
    return Clusters(centres_KD, counts_K, inertia, moved)


def chunks(points_ND: Tensor, device: torch.device) -> Iterator[tuple[slice, Tensor]]:
    """The points in chunks, as float32 on the device, each with the slice of its rows."""
    for start in range(0, len(points_ND), CHUNK_POINTS):
        rows = slice(start, min(start + CHUNK_POINTS, len(points_ND)))
        yield rows, points_ND[rows].to(device, torch.float32)


def move_empty(
    centres_KD: Tensor, counts_K: Tensor, points_ND: Tensor, distances_N: Tensor, generator: torch.Generator
) -> None:
    """Put centres without points on distinct points drawn with probability proportional to `distances_N`, in place."""
    empty = (counts_K == 0).nonzero().squeeze(1)
    if len(empty):
        # The largest weight / Exp(1) are a draw without replacement; `multinomial` takes at most 2^24 weights.
        noise_N = torch.empty_like(distances_N).exponential_(generator=generator).clamp_min(1e-30)
        drawn = (distances_N / noise_N).topk(len(empty)).indices
        points = points_ND[drawn.to(points_ND.device)].to(centres_KD)
        centres_KD[empty.to(centres_KD.device)] = points
