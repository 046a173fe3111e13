"""Near pairs of vectors by products of bytes: of most pairs it is enough to be certain that they are far apart."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from .byte_vectors import ByteVectors, squared_distances

TILE = 2000  # side of a block of products
GROUP = 16  # columns of a block, alike in length, whose largest product is looked at first
DENSE = 0.02  # share of a block's pairs that may be near; above, plain products are faster
NEVER = -(2**30)
SLACK = 1 + 1e-6  # float32's own rounding of a bound


class TooManyNearPairs(Exception):  # noqa: N818 - it is not an error
    """So many pairs are near that looking at them one by one is not faster."""


def near_pairs(
    x: ByteVectors, y: ByteVectors, bound_N: Tensor, bound_M: Tensor
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """All pairs (i, j) whose squared distance may be up to the larger of bound_i and bound_j; its least and largest value.

    Raises:
        TooManyNearPairs: See there.
    """
    buffer, bound_N, bound_M = new_buffer(), bound_N * SLACK / x.unit, bound_M * SLACK / x.unit
    for rows in tiles(len(x)):
        for columns in tiles(len(y)):
            products_NM = multiply(x.left_ND[rows], y.right_ND[columns], buffer)
            i, j = near_positions(products_NM, x.low_N[rows], y.low_N[columns], bound_N[rows], bound_M[columns])
            product, i, j = products_NM[i, j], i + rows.start, j + columns.start
            low, high = x.low_N[i] + y.low_N[j] - product, x.high_N[i] + y.high_N[j] - product
            yield i, j, low * x.unit / SLACK, high * x.unit * SLACK


def squared_radii(x: ByteVectors, neighbours: int) -> Tensor:
    """Squared distance of each vector to its k-th nearest among the others, (N,) float32.

    Each pair is multiplied once. A vector's bound is the k-th smallest of what its distances can be at most; pairs that can
    be below the bound of either side are kept, and when all bounds are known, those still below them are measured.
    """
    N, k, buffer, parts = len(x), neighbours, new_buffer(), tiles(len(x))
    smallest_Nk, bound_N = torch.full((N, k), torch.inf), torch.full((N,), torch.inf)
    kept: list[tuple[Tensor, Tensor, Tensor]] = []
    for position, rows in enumerate(parts):  # the shortest first: they are neighbours of most
        for columns in parts[position:]:
            products_NM = multiply(x.left_ND[rows], x.right_ND[columns], buffer)
            if rows == columns:
                products_NM.fill_diagonal_(NEVER)
            if not position:
                bound_N[columns] = first_bounds(products_NM, x.high_N[rows], x.high_N[columns], k)
            # Of a block on the diagonal both (i, j) and (j, i) are here, so that the bounds of rows are enough.
            bound_M = torch.full_like(bound_N[columns], -torch.inf) if rows == columns else bound_N[columns]
            i, j = near_positions(products_NM, x.low_N[rows], x.low_N[columns], bound_N[rows], bound_M)
            if rows == columns:
                keys = (torch.minimum(i, j) * N + torch.maximum(i, j)).unique()
                i, j = keys // N, keys % N
            product, i, j = products_NM[i, j], i + rows.start, j + columns.start
            kept.append((i, j, x.low_N[i] + x.low_N[j] - product))
            merge(smallest_Nk, i, j, x.high_N[i] + x.high_N[j] - product)
            bound_N = torch.minimum(bound_N, smallest_Nk[:, -1])
    i, j, low = (torch.cat(pieces) for pieces in zip(*kept, strict=True))
    near = (low <= torch.maximum(bound_N[i], bound_N[j]) * SLACK).nonzero().flatten()
    near = near[i[near].argsort()]  # a vector that is needed again is still in a cache
    i, j = i[near], j[near]
    exact_Nk = torch.full((N, k), torch.inf)
    merge(exact_Nk, i, j, squared_distances(x, x, i, j))
    return exact_Nk[:, -1]


def new_buffer() -> Tensor:
    """Memory for the products of a block."""
    return torch.empty(TILE * TILE, dtype=torch.int32)


def tiles(N: int) -> list[slice]:
    """Rows in even parts of at most `TILE`."""
    count = -(-N // TILE)
    return [slice(part * N // count, (part + 1) * N // count) for part in range(count)]


def multiply(left_ND: Tensor, right_MD: Tensor, buffer: Tensor) -> Tensor:
    """Products of all pairs, (N, M) int32, in the buffer."""
    out = buffer[: len(left_ND) * len(right_MD)].view(len(left_ND), len(right_MD))
    return torch._int_mm(left_ND, right_MD.T, out=out)


def group_largest(products_NM: Tensor) -> Tensor:
    """The largest of each `GROUP` columns, (N, G) int32."""
    M = products_NM.shape[1]
    whole = M - M % GROUP
    largest_NG = products_NM[:, :whole].unflatten(1, (-1, GROUP)).amax(2)
    return largest_NG if whole == M else torch.cat([largest_NG, products_NM[:, whole:].amax(1, keepdim=True)], 1)


def group_values(value_M: Tensor, padding: float) -> Tensor:
    """Values of columns by group, (G, GROUP)."""
    return F.pad(value_M, (0, -len(value_M) % GROUP), value=padding).view(-1, GROUP)


def near_positions(
    products_NM: Tensor, low_N: Tensor, low_M: Tensor, bound_N: Tensor, bound_M: Tensor
) -> tuple[Tensor, Tensor]:
    """Positions where low_i + low_j - product <= the larger of bound_i and bound_j."""
    M = products_NM.shape[1]
    ours_N, ours_M, theirs_M = low_N - bound_N, low_M, low_M - bound_M
    ours_G, theirs_G = (group_values(value_M, torch.inf).amin(1) for value_M in (ours_M, theirs_M))
    least_NG = torch.minimum(ours_N[:, None] + ours_G, low_N[:, None] + theirs_G)
    near_NG = group_largest(products_NM) >= least_NG
    rows, groups = near_NG.nonzero(as_tuple=True)
    if len(rows) > DENSE * GROUP * near_NG.numel():
        raise TooManyNearPairs
    columns = groups[:, None] * GROUP + torch.arange(GROUP)
    columns.clamp_(max=M - 1)  # what stands for columns beyond the last is taken out below
    least = torch.minimum(ours_N[rows, None] + ours_M[columns], low_N[rows, None] + theirs_M[columns])
    inside = products_NM.flatten()[rows[:, None] * M + columns] >= least
    if M % GROUP:
        inside &= groups[:, None] * GROUP + torch.arange(GROUP) < M
    which, element = inside.nonzero(as_tuple=True)
    if len(which) > DENSE * products_NM.numel():
        raise TooManyNearPairs
    return rows[which], columns[which, element]


def first_bounds(products_NM: Tensor, high_N: Tensor, high_M: Tensor, neighbours: int) -> Tensor:
    """What the k-th smallest distance of each column is at most: k groups of rows have a member that is as near."""
    largest_MG = group_largest(products_NM.T)
    longest_G = group_values(high_N, -torch.inf).amax(1)
    return high_M + (longest_G - largest_MG).topk(neighbours, 1, largest=False).values[:, -1]


def merge(smallest_Nk: Tensor, i: Tensor, j: Tensor, value: Tensor) -> None:
    """Put the values of pairs among the k smallest of either side, in place."""
    k, largest_N = smallest_Nk.shape[1], smallest_Nk[:, -1]
    smaller = value < torch.maximum(largest_N[i], largest_N[j])
    i, j, value = i[smaller], j[smaller], value[smaller]
    touched, place = torch.cat([i, j]).unique(return_inverse=True)
    owner = torch.cat([place, torch.arange(len(touched)).repeat_interleave(k)])
    values = torch.cat([value, value, smallest_Nk[touched].flatten()])
    order = values.argsort()
    order = order[owner[order].argsort(stable=True)]
    first = torch.searchsorted(owner[order], torch.arange(len(touched)))
    smallest_Nk[touched] = values[order[first[:, None] + torch.arange(k)]]
