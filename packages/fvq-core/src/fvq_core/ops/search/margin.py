"""How far scores from rounded operands may be from the exact ones; `docs/search.md` derives the bounds.

With m the `shift`, a score is s = (z - m).(c - m) - |c - m|^2 / 2 for l2, and z.(c - m) for dot: up to a constant of the row,
minus half the squared distance, or the product.
"""

from __future__ import annotations

from torch import Tensor

UNIT = 2.0**-24  # float32's unit roundoff
UNIT64 = 2.0**-53
SLACK = 1.01  # of bounds that are themselves taken in float32, and of their higher orders


def float32_error(D: int) -> float:
    """g with |computed - s| <= g (|z - m| |c - m| + |c - m|^2): float32 in any order, operands rounded once."""
    return SLACK * (D + 8) * UNIT


def float64_error(D: int) -> float:
    """The same of float64."""
    return SLACK * (D + 8) * UNIT64


def underflow(D: int) -> float:
    """What flushing to zero may cost, over 1 + |z - m| + |c - m|."""
    return (D + 8) * 2.0**-125


def tensor_core_error(D: int) -> float:
    """g with |computed - z.c| <= g |z| |c| for float16 operands: float32 accumulators that truncate, and adding the bias.

    A tensor core aligns b products and the accumulator to the largest, cuts each below its 24th bit and cuts their sum: at
    most (b + 2) 2^-23 of |z| |c| per block of b, so at most D 2^-22 for b of 2 or more.
    """
    return SLACK * (D * 2.0**-22 + 2.0**-22)


def norm_bound(norms: Tensor, D: int) -> Tensor:
    """At least the norms, from those that float32 found for D channels, whose squares may have underflowed."""
    return norms * (1 + SLACK * (D + 8) * UNIT) + D * 2.0**-62


def rescoring_error(D: int) -> float:
    """r such that codes whose `rescore` is equal or turned round have scores within r (|z - m|^2 + |s|) (l2) or r |z| |c|."""
    return 4 * (D + 8) * UNIT64
