"""Faster products of a few rows on CPUs: matrices in the order that the CPU's library reads them in."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

# For one or two rows the library multiplies by vectors, which needs no packing; for many rows, packing is lost in the rest.
ROWS = range(3, 33)


class PackedLinears:
    """Inside its `with`, the linear layers of a module use packed copies of their weights if that is faster.

    For a batch of few rows, MKL's product spends most of its time on bringing the weights into its own order, again at each
    step of decoding. This does it once. On other devices, in other dtypes, without MKL, under autocast and for other numbers
    of rows nothing changes. It takes as much memory again as the weights.

    Args:
        module: Module in eval mode, in float32, without gradients.
    """

    def __init__(self, module: nn.Module) -> None:
        self.linears = [part for part in module.modules() if type(part) is nn.Linear and part.bias is None]
        self.rows = 0

    def __enter__(self) -> PackedLinears:
        return self

    def __exit__(self, *error: object) -> None:
        self.unpack()

    def use(self, rows: int) -> None:
        """Be ready for products of this many rows, from the next on."""
        if rows == self.rows:
            return
        self.unpack()
        self.rows = rows
        if rows in ROWS and torch.backends.mkl.is_available() and not torch.is_autocast_enabled('cpu'):
            for linear in self.linears:
                if linear.weight.device.type == 'cpu' and linear.weight.dtype == torch.float32:
                    linear.__dict__['forward'] = _Packed(linear.weight, rows)

    def unpack(self) -> None:
        """Free the copies."""
        for linear in self.linears:
            linear.__dict__.pop('forward', None)
        self.rows = 0


class _Packed:
    """What stands in for the forward pass of a linear layer."""

    def __init__(self, weight_ND: Tensor, rows: int) -> None:
        self.operators: Any = torch.ops.mkl
        self.weight_ND, self.rows = weight_ND.detach(), rows
        self.packed = self.operators._mkl_reorder_linear_weight(self.weight_ND, rows)

    def __call__(self, x: Tensor) -> Tensor:
        # Another number of rows than it was packed for takes the ordinary way inside.
        return self.operators._mkl_linear(x.contiguous(), self.packed, self.weight_ND, None, self.rows)
