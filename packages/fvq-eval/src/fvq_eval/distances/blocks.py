"""Squared distances between vectors, a block at a time; no N x M matrix ever exists."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.ops.nearest_code import full_precision, shift

ROWS = 512  # of a block
SQUARE = 10_000  # ADM decides for 10,000 x 10,000 distances at once whether float16 holds them
HALF_MAX = torch.finfo(torch.float16).max


def blocks(x_ND: Tensor, y_MD: Tensor, distances: str = 'float32') -> Iterator[tuple[slice, slice, Tensor]]:
    """Squared distances of all pairs, at least 0: rows of x, rows of y, and the block between them in float32.

    Args:
        distances: `'float32'`, or `'float16'` as guided-diffusion's evaluator has it: features, squares, norms, products and
            both sums are rounded to float16, sums along a feature vector are kept in float32 before. Where a distance among
            10,000 x 10,000 is not finite then, all of these are in float32.
    """
    with full_precision(x_ND.device.type):
        for top, x in pieces(x_ND.float(), SQUARE):
            for left, y in pieces(y_MD.float(), SQUARE):
                half = distances == 'float16' and all_finite_in_half(x, y)
                prepare, between = (half_operands, half_block) if half else (operands, float_block)
                prepared = prepare(y)
                for start, rows in pieces(x, ROWS):
                    block = between(*prepare(rows), *prepared)
                    yield slice(top + start, top + start + len(rows)), slice(left, left + len(y)), block


def near_zero(reference_ND: Tensor, samples_MD: Tensor) -> tuple[Tensor, Tensor]:
    """Both sets moved by one vector, in float32, so that the reference lies around zero: the same distances, less rounding."""
    shift_D = shift(reference_ND)
    if shift_D is None:
        return reference_ND, samples_MD
    return (reference_ND - shift_D).float(), (samples_MD - shift_D).float()


def pieces(x_ND: Tensor, size: int) -> Iterator[tuple[int, Tensor]]:
    """Rows in pieces of a size, each with the position of its first."""
    return ((start, x_ND[start : start + size]) for start in range(0, len(x_ND), size))


def operands(x_ND: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors and their squared lengths."""
    return x_ND, x_ND.square().sum(1)


def float_block(x_ND: Tensor, xx_N: Tensor, y_MD: Tensor, yy_M: Tensor) -> Tensor:
    """|x|^2 + |y|^2 - 2 x.y, (N, M)."""
    return torch.addmm(yy_M, x_ND, y_MD.T, alpha=-2).add_(xx_N[:, None]).clamp_min_(0)


def half_operands(x_ND: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors rounded to float16, in float32, and their squared lengths in float16."""
    x_ND = x_ND.half()
    return x_ND.float(), x_ND.square().sum(1, dtype=torch.float32).half()


def half_block(x_ND: Tensor, xx_N: Tensor, y_MD: Tensor, yy_M: Tensor) -> Tensor:
    """`float_block` with every intermediate result rounded to float16, (N, M) float32."""
    products_NM = (x_ND @ y_MD.T).half()
    return (xx_N[:, None] - 2 * products_NM + yy_M).clamp_min_(0).float()


def all_finite_in_half(x_ND: Tensor, y_MD: Tensor) -> bool:
    """Whether `half_block` of these is finite throughout."""
    (x, xx_N), (y, yy_M) = half_operands(x_ND), half_operands(y_MD)
    longest = xx_N.max().float().sqrt() + yy_M.max().float().sqrt()
    if longest.square() < 0.9 * HALF_MAX:  # no distance and no product is longer than this
        return True
    rows = zip(x.split(ROWS), xx_N.split(ROWS), strict=True)
    return all(bool(half_block(part, squares, y, yy_M).isfinite().all()) for part, squares in rows)


def squared_radii(x_ND: Tensor, neighbours: int, distances: str = 'float32') -> Tensor:
    """Squared distance of each vector to its k-th nearest neighbour among the others, (N,) float32.

    It is the (k + 1)-th smallest of a row that holds the vector's distance to itself, so copies of a vector are neighbours.
    """
    need_neighbours(len(x_ND), neighbours)
    nearest: dict[int, list[Tensor]] = {}
    for rows, _, block in blocks(x_ND, x_ND, distances):
        found = nearest.setdefault(rows.start, [])
        found.append(block.topk(min(neighbours + 1, block.shape[1]), largest=False).values)
    return torch.cat([torch.cat(found, 1).kthvalue(neighbours + 1, 1).values for found in nearest.values()])


def need_neighbours(N: int, neighbours: int) -> None:
    """Raise if a set has too few vectors for the neighbours that are asked for."""
    if neighbours >= N:
        raise UserError(f'neighbourhoods: {N} images have no {neighbours} neighbours each; add images or lower k.')
