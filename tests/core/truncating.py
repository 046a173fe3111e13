"""A tensor core that rounds toward zero, in NumPy: the worst that the search's margin allows for."""

from __future__ import annotations

from typing import Any

import numpy as np


def cut(x: Any, largest: Any) -> Any:
    """Bits of x below the 24th of `largest` are dropped."""
    unit = np.ldexp(1.0, np.frexp(largest)[1] - 24)
    return np.trunc(x / unit) * unit


def truncating_dot(a_MD: Any, b_DN: Any, acc_MN: Any, block: int) -> Any:
    """acc + a b, float32: `block` exact products and the sum so far are aligned to the largest and cut, and so is their sum."""
    a, b, sums = a_MD.astype(np.float64), b_DN.astype(np.float64), acc_MN.astype(np.float64)
    for start in range(0, a.shape[1], block):
        part = slice(start, start + block)
        terms = np.concatenate([a[:, None, part] * b.T[None, :, part], sums[:, :, None]], 2)
        total = cut(terms, np.abs(terms).max(2, keepdims=True)).sum(2)
        sums = cut(total, total)
    return sums.astype(np.float32)
