"""How DiT, MAR, MAGE and Halton-MaskGIT start their linear maps."""

from __future__ import annotations

from torch import nn


def init_xavier(part: nn.Module) -> None:
    """For `Module.apply`: initialize a linear map, or a convolution as the map of patches that it is; biases are 0."""
    if isinstance(part, nn.Linear | nn.Conv2d):
        nn.init.xavier_uniform_(part.weight.flatten(1))
        if part.bias is not None:
            nn.init.zeros_(part.bias)
