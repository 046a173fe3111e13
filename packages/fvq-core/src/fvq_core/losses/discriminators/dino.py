"""UniTok's discriminator: heads on the features of a frozen DINOv2, as in StyleGAN-T (Sauer et al., 2023)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...autoencoders.layers.norm import group_norm
from ...errors import UserError
from ...registry import DISCRIMINATORS
from ..perceptual import DINOv2Features, WithFrozenNetwork


@DISCRIMINATORS.register_module()
class DINODiscriminator(WithFrozenNetwork):
    """Images (B, 3, H, W) in [-1, 1] to logits (B, 1, depths, L), one for each patch and depth.

    Sides become multiples of 14: in training by a random crop or an area mean, each time one of the two for the whole
    batch, and by the mean in eval. No layer mixes images.

    Args:
        depths: Blocks of DINOv2, from 0, whose features get a head each.
        kernel: Width of the convolution of a head, along the patches in reading order; odd.
        channels: Of a head; those of DINOv2, 384, by default. A multiple of 32.
        weights, random: See `DINOv2Features`.

    Raises:
        UserError: An even kernel, or images with a side below 14.
    """

    def __init__(
        self,
        depths: Sequence[int] = (0, 2, 5, 8, 11),
        kernel: int = 9,
        channels: int | None = None,
        weights: str | Path | None = None,
        random: bool = False,
    ) -> None:
        network = DINOv2Features(depths, weights, random)
        super().__init__(network, random)
        if kernel < 1 or kernel % 2 == 0:
            raise UserError(f'DINODiscriminator: kernel must be odd, got {kernel}.')
        self.patch_size, width = network.patch_size, network.out_channels
        self.heads = nn.ModuleList(Head(width, channels or width, kernel) for _ in depths)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        features = self.network(self.fit(images_BCHW.float()))
        return torch.stack([head(x_BLC.mT) for head, x_BLC in zip(self.heads, features, strict=True)], 2)

    def fit(self, images_BCHW: Tensor) -> Tensor:
        """Images with sides that the patches divide."""
        patch, (height, width) = self.patch_size, images_BCHW.shape[-2:]
        rows, columns = height - height % patch, width - width % patch
        if not rows or not columns:
            raise UserError(f'DINODiscriminator: images need sides of {patch} or more, got {height}x{width}.')
        if (rows, columns) == (height, width):
            return images_BCHW
        means = F.interpolate(images_BCHW, (rows, columns), mode='area')
        if not self.training:
            return means
        # Drawn on the device, which nothing then waits for, and a compiled graph stays whole.
        device, draws_3 = images_BCHW.device, torch.rand(3, device=images_BCHW.device)
        down, right = (
            (draw * (spare + 1)).long() + torch.arange(side, device=device)
            for draw, spare, side in zip(draws_3[1:], (height - rows, width - columns), (rows, columns), strict=True)
        )
        crop = images_BCHW.index_select(2, down).index_select(3, right)
        return torch.where(draws_3[0] < 0.5, crop, means)

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """Random weights, so no file is needed, and two small heads on the first blocks."""
        return dict(random=True, weights=None, depths=[0, 1], channels=32)


class Head(nn.Module):
    """Features (B, width, L) to logits (B, 1, L): a 1x1 convolution, a residual one along the patches, and a 1x1 one."""

    def __init__(self, width: int, channels: int, kernel: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv1d(width, channels, 1)
        self.norm_in = group_norm(channels)
        self.conv = nn.Conv1d(channels, channels, kernel, padding=kernel // 2, padding_mode='circular')
        self.norm = group_norm(channels)
        self.conv_out = nn.Conv1d(channels, 1, 1)
        for conv in (self.conv_in, self.conv, self.conv_out):
            nn.init.xavier_normal_(conv.weight, gain=0.5)
            nn.init.zeros_(cast(Tensor, conv.bias))

    def forward(self, x_BCL: Tensor) -> Tensor:
        x_BCL = F.leaky_relu(self.norm_in(self.conv_in(x_BCL)), 0.2)
        h_BCL = F.leaky_relu(self.norm(self.conv(x_BCL)), 0.2)
        return self.conv_out((x_BCL + h_BCL) * math.sqrt(0.5))
