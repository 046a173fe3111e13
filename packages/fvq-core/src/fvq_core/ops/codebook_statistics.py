"""Statistics of code usage, from a histogram of counts."""

from __future__ import annotations

from torch import Tensor


def perplexity(histogram_K: Tensor) -> float:
    """exp(entropy) of the codes' frequencies: the number of equally used codes with the same entropy, 1 to K."""
    p_K = histogram_K.double()
    p_K = p_K[p_K > 0] / p_K.sum()
    return (-(p_K * p_K.log()).sum()).exp().item()
