"""Stochastic depth (Huang et al., 2016)."""

from __future__ import annotations

from torch import Tensor, nn


class DropPath(nn.Module):
    """In training leaves out the whole branch of a sample with a probability, and scales what is kept to the same mean.

    Args:
        rate: The probability, below 1.
    """

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        """(B, ...) to (B, ...)."""
        if not self.training or self.rate == 0.0:
            return branch
        kept = branch.new_empty(branch.shape[0], *(1,) * (branch.dim() - 1)).bernoulli_(1.0 - self.rate)
        return branch * kept.div_(1.0 - self.rate)

    def extra_repr(self) -> str:
        return f'rate={self.rate:g}'
