"""Near pairs of vectors by products of bytes: most distances need no more than the certainty that they are large.

A CPU multiplies bytes about three times as fast as float32. Vectors are rounded to bytes at random, so that the error of a
product has a small bound that holds with near certainty; the few pairs that the bound cannot exclude are taken in float32.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

TILE, GROUPS = 2000, 250  # side of a block of products; groups of a row of which the largest is looked at first
LEAST_VECTORS, LEAST_DIMENSIONS = 2000, 512  # below, plain products are as fast
ROWS = 128  # rounded at a time
PAIRS = 12  # whose distances are taken at a time: their vectors fit into the nearest cache
DENSE = 0.01  # share of a block's pairs that may be near; above, plain products are faster
# Of a product's error, in steps of rounding times the root of both squared lengths, with a probability of 1e-12 (Azuma).
BOUND = math.sqrt(math.log(2 / 1e-12) / 2)
NEVER = -(2**30)
SLACK = 1 + 1e-6  # float32's own rounding of a bound


class TooManyNearPairs(Exception):  # noqa: N818 - it is no error of anybody's
    """The vectors are so much alike that looking at pairs one by one is no gain."""


class ByteVectors:
    """A set of vectors beside its roundings to bytes.

    Each coordinate goes to one of the two multiples of `step` around it, by chance, with the coordinate as its mean. The
    chance is drawn once for each dimension, separately for the left and the right side of products.

    Args:
        x_ND: float32, with a mean near 0.
        step: Of the rounding; |x| <= 126 step.
        typical: A squared length of the vectors it will be multiplied with, roughly.
        rng: On the CPU.

    Attributes:
        low_N: In units of 2 step^2: squared length less the share of this vector in what rounding can hide.
        high_N: The same, more.
    """

    def __init__(self, x_ND: Tensor, step: float, typical: float, rng: torch.Generator) -> None:
        D = x_ND.shape[1]
        self.x_ND, self.unit = x_ND, 2 * step**2
        self.left_ND = torch.empty(x_ND.shape, dtype=torch.int8)
        self.right_ND = torch.empty_like(self.left_ND)
        squares_N = torch.empty(len(x_ND))
        left_D, right_D = torch.rand(2, D, generator=rng)
        for start in range(0, len(x_ND), ROWS):
            part = slice(start, start + ROWS)
            torch.sum(x_ND[part].square(), 1, out=squares_N[part])
            scaled_ND = x_ND[part] / step
            self.left_ND[part] = (scaled_ND + left_D).floor_()
            self.right_ND[part] = scaled_ND.add_(right_D).floor_()
        # sqrt(a + b) <= (a + b + z) / 2 sqrt(z): the bound becomes a sum of shares of either side.
        longest_N = (squares_N.sqrt() + step * D**0.5).square()
        z = 2 * typical + step**2
        hidden_N = 2 * BOUND * step * (longest_N + z / 2) / (2 * z**0.5)
        self.low_N, self.high_N = (squares_N - hidden_N) / self.unit, (squares_N + hidden_N) / self.unit

    def __len__(self) -> int:
        return len(self.x_ND)


def bytes_are_faster(x_ND: Tensor, y_MD: Tensor, neighbours: int) -> bool:
    """Whether it pays: a CPU with instructions for it, many vectors of many dimensions."""
    instructions: Any = getattr(torch.cpu, '_is_vnni_supported', None)
    able = hasattr(torch, '_int_mm') and instructions is not None and instructions()
    many = min(len(x_ND), len(y_MD)) >= LEAST_VECTORS and x_ND.shape[1] >= LEAST_DIMENSIONS
    return able and many and x_ND.device.type == y_MD.device.type == 'cpu' and neighbours <= GROUPS // 4


def byte_vectors(*sets: Tensor) -> list[ByteVectors]:
    """Sets of vectors about the mean of the first, rounded by one step; distances between them stay the same."""
    mean_D = sets[0].mean(0)
    centered = [x_ND - mean_D for x_ND in sets]
    step = max(float(torch.stack(x_ND.aminmax()).abs().max()) for x_ND in centered) / 126 or 1.0
    typical = max(float(x_ND.flatten() @ x_ND.flatten()) / len(x_ND) for x_ND in centered)
    rng = torch.Generator().manual_seed(0)
    return [ByteVectors(x_ND, step, typical, rng) for x_ND in centered]


class Products:
    """Blocks of byte products in buffers that are used again and again."""

    def __init__(self) -> None:
        self.products = torch.empty(TILE * TILE, dtype=torch.int32)
        self.excess = torch.empty(TILE * -(-TILE // GROUPS) * GROUPS, dtype=torch.int32)

    def multiply(self, left_ND: Tensor, right_MD: Tensor) -> Tensor:
        """(N, M) int32, valid until the next call."""
        out = self.products[: len(left_ND) * len(right_MD)].view(len(left_ND), len(right_MD))
        return torch._int_mm(left_ND, right_MD.T, out=out)

    def grouped(self, products_NM: Tensor, offset_M: Tensor) -> Tensor:
        """products - offset (N, E, G), the M columns padded and dealt out to G groups; valid until the next call."""
        N, M = products_NM.shape
        width = -(-M // GROUPS) * GROUPS
        excess = self.excess[: N * width].view(N, width)
        torch.sub(products_NM, whole(offset_M), out=excess[:, :M])
        excess[:, M:] = NEVER
        return excess.view(N, -1, GROUPS)

    def at_least(self, products_NM: Tensor, offset_M: Tensor, threshold_N: Tensor) -> tuple[Tensor, Tensor]:
        """Places (row, column) where products - offset >= threshold of the row.

        Raises:
            TooManyNearPairs: They are more than `DENSE` of the block.
        """
        excess_NEG = self.grouped(products_NM, offset_M)
        rows, groups = (excess_NEG.amax(1) >= threshold_N[:, None]).nonzero(as_tuple=True)
        if len(rows) > DENSE * products_NM.numel():
            raise TooManyNearPairs
        inside = excess_NEG[rows, :, groups] >= threshold_N[rows, None]
        which, element = inside.nonzero(as_tuple=True)
        if len(which) > DENSE * products_NM.numel():
            raise TooManyNearPairs
        return rows[which], element * GROUPS + groups[which]


def whole(offset_M: Tensor) -> Tensor:
    """The next whole number below, int32."""
    return offset_M.clamp(NEVER, -NEVER).floor().to(torch.int32)


def near_places(
    products: Products, products_NM: Tensor, low_N: Tensor, low_M: Tensor, bound_N: Tensor, bound_M: Tensor
) -> tuple[Tensor, Tensor]:
    """Places where low + low - product <= the larger of the two bounds, each once."""
    i, j = products.at_least(products_NM, low_M - bound_M, low_N)
    more_i, more_j = products.at_least(products_NM, low_M, low_N - bound_N)
    new = products_NM[more_i, more_j] - whole(low_M - bound_M)[more_j] < low_N[more_i]
    return torch.cat([i, more_i[new]]), torch.cat([j, more_j[new]])


def squared_distances(x: ByteVectors, y: ByteVectors, i: Tensor, j: Tensor) -> Tensor:
    """|x_i - y_j|^2 of pairs, float32."""
    found = torch.empty(len(i))
    left_PD, right_PD = torch.empty(2, PAIRS, x.x_ND.shape[1])
    for start in range(0, len(i), PAIRS):
        rows, columns = i[start : start + PAIRS], j[start : start + PAIRS]
        left, right = left_PD[: len(rows)], right_PD[: len(rows)]
        torch.index_select(x.x_ND, 0, rows, out=left)
        torch.index_select(y.x_ND, 0, columns, out=right)
        torch.sum(left.sub_(right).square_(), 1, out=found[start : start + PAIRS])
    return found


def tiles(N: int) -> list[slice]:
    """Rows in even parts of at most `TILE`."""
    count = -(-N // TILE)
    return [slice(part * N // count, (part + 1) * N // count) for part in range(count)]


def near_pairs(
    x: ByteVectors, y: ByteVectors, bound_N: Tensor, bound_M: Tensor
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """All pairs (i, j) whose squared distance may be up to the larger of bound_i and bound_j; its least and largest value.

    Raises:
        TooManyNearPairs: See there.
    """
    products, scaled_N, scaled_M = Products(), bound_N * SLACK / x.unit, bound_M * SLACK / x.unit
    for rows in tiles(len(x)):
        for columns in tiles(len(y)):
            block = products.multiply(x.left_ND[rows], y.right_ND[columns])
            i, j = near_places(products, block, x.low_N[rows], y.low_N[columns], scaled_N[rows], scaled_M[columns])
            value, i, j = block[i, j], i + rows.start, j + columns.start
            low, high = x.low_N[i] + y.low_N[j] - value, x.high_N[i] + y.high_N[j] - value
            yield i, j, low * x.unit / SLACK, high * x.unit * SLACK


def squared_radii(x: ByteVectors, neighbours: int) -> Tensor:
    """Squared distance of each vector to its k-th nearest among the others, (N,) float32.

    Each pair is multiplied once. A vector's bound is the k-th smallest of what its distances can be at most; pairs that can
    be below the bound of either side are kept, and when all bounds are known, those still below them are measured.

    Raises:
        TooManyNearPairs: See there.
    """
    N, k, products = len(x), neighbours, Products()
    smallest_Nk = torch.full((N, k), torch.inf)
    kept: list[tuple[Tensor, Tensor, Tensor]] = []
    parts = tiles(N)
    for distance in range(len(parts)):  # from the diagonal outwards, so that every vector has a bound early
        for rows, columns in zip(parts, parts[distance:], strict=False):
            block = products.multiply(x.left_ND[rows], x.right_ND[columns])
            bound_N, bound_M = smallest_Nk[rows, -1], smallest_Nk[columns, -1]
            if not distance:
                block.fill_diagonal_(NEVER)
                bound_N = bound_M = first_bounds(products, block, x.low_N[rows], x.high_N[rows], k)
            i, j = near_places(products, block, x.low_N[rows], x.low_N[columns], bound_N, bound_M)
            if not distance:  # there are (i, j) and (j, i)
                keys = (torch.minimum(i, j) * N + torch.maximum(i, j)).unique()
                i, j = keys // N, keys % N
            value = block[i, j]
            i, j = i + rows.start, j + columns.start
            kept.append((i, j, x.low_N[i] + x.low_N[j] - value))
            merge(smallest_Nk, i, j, x.high_N[i] + x.high_N[j] - value)
    i, j, low = (torch.cat(parts) for parts in zip(*kept, strict=True))
    bound_N = smallest_Nk[:, -1] * SLACK
    near = (low <= torch.maximum(bound_N[i], bound_N[j])).nonzero().flatten()
    near = near[i[near].argsort()]  # a vector that is needed again is still in a cache
    i, j = i[near], j[near]
    exact_Nk = torch.full((N, k), torch.inf)
    merge(exact_Nk, i, j, squared_distances(x, x, i, j))
    return exact_Nk[:, -1]


def first_bounds(products: Products, products_NN: Tensor, low_N: Tensor, high_N: Tensor, neighbours: int) -> Tensor:
    """What the k-th smallest distance of each row is at most: k groups have a member that is as near."""
    largest_NG = products.grouped(products_NN, low_N).amax(1)
    hidden_N = high_N - low_N
    return low_N - largest_NG.topk(neighbours, 1).values[:, -1] + 1 + hidden_N + hidden_N.max()


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
