"""Vectors rounded to bytes, whose products a CPU takes about three times as fast as those of float32."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

LEAST_VECTORS, LEAST_DIMENSIONS, MOST_NEIGHBOURS = 2000, 512, 20  # elsewhere, plain products are as fast
ROWS = 128  # rounded at a time
ONE_THREAD = 2**15 - 1  # numbers that torch leaves to one thread; for small pieces, others cost more than they bring
# What rounding can hide of a product, in steps of rounding times the root of the sum of both squared lengths, but for one
# pair in 10^12: the Azuma-Hoeffding inequality for one error a coordinate and side, of mean 0 and within one step.
BOUND = math.sqrt(math.log(2e12) / 2)


class ByteVectors:
    """A set of vectors, by length, beside its roundings to bytes.

    Each coordinate goes to one of the two multiples of `step` around it, by chance, so that it is right on average. The
    chance is drawn once for each dimension, separately for the left and the right side of products. For the bytes p, q of
    two vectors x, y then |x - y|^2 = |x|^2 + |y|^2 - 2 step^2 p.q up to what rounding hides, for which there is a bound.

    Args:
        x_ND: float32, with a mean near 0.
        step: Step of the rounding; |x| <= 126 step.
        typical: A squared length of the vectors it will be multiplied with, roughly.
        rng: On the CPU.

    Attributes:
        order_N: Where the vectors were before they were put in order of length.
        x_ND: The vectors in that order, as everything else.
        unit: 2 step^2.
        low_N: low_i + low_j - p_i.q_j is at most the squared distance of i and j in `unit`s.
        high_N: high_i + high_j - p_i.q_j is at least that.
    """

    def __init__(self, x_ND: Tensor, step: float, typical: float, rng: torch.Generator) -> None:
        N, D = x_ND.shape
        self.unit = 2 * step**2
        self.order_N = torch.linalg.vector_norm(x_ND, dim=1).argsort()
        self.x_ND = x_ND[self.order_N]
        self.left_ND = torch.empty(N, D, dtype=torch.int8)
        self.right_ND = torch.empty(N, D, dtype=torch.int8)
        squares_N = torch.empty(N)
        left_D, right_D = torch.rand(2, D, generator=rng)
        for start in range(0, N, ROWS):
            part = slice(start, start + ROWS)
            torch.sum(self.x_ND[part].square(), 1, out=squares_N[part])
            scaled_ND = self.x_ND[part] / step
            self.left_ND[part] = (scaled_ND + left_D).floor_()
            self.right_ND[part] = scaled_ND.add_(right_D).floor_()
        # sqrt(a + b) <= (a + b + z) / 2 sqrt(z) for any z: the bound becomes a share of i and a share of j.
        longest_N = (squares_N.sqrt() + step * D**0.5).square()  # of x and of its bytes
        z = 2 * typical + self.unit
        hidden_N = 2 * BOUND * step * (longest_N + z / 2) / (2 * z**0.5)
        self.low_N, self.high_N = (squares_N - hidden_N) / self.unit, (squares_N + hidden_N) / self.unit

    def __len__(self) -> int:
        return len(self.x_ND)


def bytes_are_faster(x_ND: Tensor, y_MD: Tensor, neighbours: int) -> bool:
    """Whether it pays: a CPU with instructions for it, many vectors of many dimensions."""
    instructions: Any = getattr(torch.cpu, '_is_vnni_supported', None)
    able = hasattr(torch, '_int_mm') and instructions is not None and instructions()
    many = min(len(x_ND), len(y_MD)) >= LEAST_VECTORS and x_ND.shape[1] >= LEAST_DIMENSIONS
    return able and many and x_ND.device.type == y_MD.device.type == 'cpu' and neighbours <= MOST_NEIGHBOURS


def byte_vectors(*sets: Tensor) -> list[ByteVectors]:
    """Sets of vectors about the mean of the first, rounded by one step; distances between them stay the same."""
    mean_D = sets[0].mean(0)
    centered = [x_ND - mean_D for x_ND in sets]
    step = max(float(torch.stack(x_ND.aminmax()).abs().max()) for x_ND in centered) / 126 or 1.0
    typical = max(float(x_ND.flatten() @ x_ND.flatten()) / len(x_ND) for x_ND in centered)
    rng = torch.Generator().manual_seed(0)
    return [ByteVectors(x_ND, step, typical, rng) for x_ND in centered]


def squared_distances(x: ByteVectors, y: ByteVectors, i: Tensor, j: Tensor) -> Tensor:
    """|x_i - y_j|^2 of pairs, float32; a few at a time, whose vectors fit into the nearest cache."""
    D = x.x_ND.shape[1]
    size = max(1, ONE_THREAD // D)
    left_PD, right_PD = torch.empty(2, size, D)
    found = [torch.empty(0)]
    for rows, columns in zip(i.split(size), j.split(size), strict=True):
        left, right = left_PD[: rows.shape[0]], right_PD[: rows.shape[0]]
        torch.index_select(x.x_ND, 0, rows, out=left)
        torch.index_select(y.x_ND, 0, columns, out=right)
        found.append(left.sub_(right).square_().sum(1))
    return torch.cat(found)
