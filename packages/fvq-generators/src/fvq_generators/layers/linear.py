"""A linear map that is fast for the few rows of a decoding step on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# Rows for which the product is faster the other way round. A step of one guided image has two.
FEWEST, MOST = 2, 4
# As many of a map to very many channels, such as a head.
WIDE, MOST_OF_WIDE = 8, 8


class Linear(nn.Linear):
    """As `nn.Linear`. Without gradients, for two to four rows of float32 on a CPU, eight of a head, it computes `(W x^T)^T`.

    The libraries' product of few rows with a transposed matrix reads it at a third of the bandwidth, and the product with the
    matrix in front at all of it; not for maps to fewer channels. `benchmarks/sampling_autoregressive.py` shows the effect.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        rows = input.numel() // self.in_features
        most = MOST_OF_WIDE if self.out_features >= WIDE * self.in_features else MOST
        if self.out_features < self.in_features or not self._on_cpu(input) or not FEWEST <= rows <= most:
            return super().forward(input)
        y = torch.mm(self.weight, input.reshape(rows, -1).t()).t().contiguous()
        y = y if self.bias is None else y + self.bias
        return y.view(*input.shape[:-1], -1)

    def _on_cpu(self, x: Tensor) -> bool:
        plain = x.device.type == 'cpu' and x.dtype == self.weight.dtype == torch.float32
        return plain and not torch.is_grad_enabled() and not torch.is_autocast_enabled('cpu')
