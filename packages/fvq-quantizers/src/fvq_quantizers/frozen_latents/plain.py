"""The least that can stand on either side of a quantizer of latents: nothing, and a scale and a shift for each channel."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fvq_core.autoencoder import Decoder, Encoder
from fvq_core.registry import DECODERS, ENCODERS


@ENCODERS.register_module()
class IdentityEncoder(Encoder):
    """(B, C, H, W) as they are.

    Args:
        in_channels: C.
    """

    downsample_factor = 1

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.in_channels = self.out_channels = in_channels

    def forward(self, images_BCHW: Tensor) -> Tensor:
        return images_BCHW


@DECODERS.register_module()
class AffineDecoder(Decoder):
    """(B, C, H, W) with a learned scale and shift for each channel, 1 and 0 at first.

    Args:
        latent_channels: C.
    """

    upsample_factor = 1

    def __init__(self, latent_channels: int) -> None:
        super().__init__()
        self.in_channels = latent_channels
        self.scale = nn.Parameter(torch.ones(latent_channels, 1, 1))
        self.shift = nn.Parameter(torch.zeros(latent_channels, 1, 1))

    @property
    def last_layer(self) -> nn.Parameter:
        return self.scale

    def forward(self, features_BEHW: Tensor, z_q_BDHW: Tensor | None = None) -> Tensor:
        return features_BEHW * self.scale + self.shift
