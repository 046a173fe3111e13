"""Numbers about how codes are used, from a histogram of their counts."""

from __future__ import annotations

from torch import Tensor


def perplexity(histogram_K: Tensor) -> float:
    """exp(entropy) of the codes' frequencies: how many codes would carry as much if all were used alike, 1 to K."""
    p_K = histogram_K.double()
    p_K = p_K[p_K > 0] / p_K.sum()
    return (-(p_K * p_K.log()).sum()).exp().item()
