"""Pixel losses: means over batch, channels and pixels of images in [-1, 1]."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ..registry import LOSSES


class PixelLoss(nn.Module):
    """A weighted loss between reconstruction and image."""

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = weight


@LOSSES.register_module()
class L2Loss(PixelLoss):
    """Mean squared error, the reconstruction loss of LlamaGen and FVQ (the paper, eq. 35)."""

    def forward(self, reconstruction: Tensor, images: Tensor) -> Tensor:
        return self.weight * F.mse_loss(reconstruction, images)


@LOSSES.register_module()
class L1Loss(PixelLoss):
    """Mean absolute error, the reconstruction loss of VQGAN and IBQ."""

    def forward(self, reconstruction: Tensor, images: Tensor) -> Tensor:
        return self.weight * F.l1_loss(reconstruction, images)
