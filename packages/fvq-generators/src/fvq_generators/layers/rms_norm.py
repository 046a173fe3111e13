"""Root-mean-square normalization (Zhang and Sennrich, 2019)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RMSNorm(nn.Module):
    """`x / sqrt(mean(x^2) + eps)`, computed in float32 and returned in the input's dtype, times a weight.

    Args:
        dim: Channels D.
        eps: 1e-5 in LlamaGen.
        bias: Whether a bias is added, as in the last norm of Halton-MaskGIT.
    """

    def __init__(self, dim: int, eps: float = 1e-5, bias: bool = False) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) to (..., D)."""
        scaled = F.rms_norm(x.float(), self.weight.shape, eps=self.eps).type_as(x) * self.weight
        return scaled if self.bias is None else scaled + self.bias
