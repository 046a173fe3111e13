"""Pixel losses: means over batch, channels and pixels of images in [-1, 1]."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..autoencoder import Autoencoder
from ..errors import UserError
from ..registry import LOSSES


class PixelLoss(nn.Module):
    """A weighted loss between reconstruction and image."""

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def attach(self, autoencoder: Autoencoder) -> None:
        """Called once with what is trained, before anything is; raises if this loss cannot train it."""


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


@LOSSES.register_module()
class SumLoss(nn.Module):
    """The sum of several losses, such as ViT-VQGAN's L2 and logit-Laplace, UniTok's L2 and L1, TiTok's LPIPS and ConvNeXt.

    Args:
        losses: Configs of pixel or perceptual losses of `LOSSES`, each with its weight.
    """

    def __init__(self, losses: Sequence[Mapping[str, Any]]) -> None:
        super().__init__()
        if not losses:
            raise UserError('SumLoss: expected one loss or more, got none.')
        self.losses = nn.ModuleList(LOSSES.build(config) for config in losses)

    def forward(self, reconstruction: Tensor, images: Tensor) -> Tensor:
        return torch.stack([loss(reconstruction, images) for loss in self.losses]).sum()
