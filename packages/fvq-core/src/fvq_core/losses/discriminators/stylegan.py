"""The residual discriminator of StyleGAN2 (Karras et al., 2020) as in LlamaGen."""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import UserError
from ...registry import DISCRIMINATORS

LAST_SIDE = 4  # of the features given to the linear layers
FULL_WIDTH_SIDE = 32  # features up to this side have all channels


@DISCRIMINATORS.register_module()
class StyleGANDiscriminator(nn.Module):
    """One logit per image: (B, in_channels, S, S) to (B, 1).

    LlamaGen's form: no minibatch standard deviation, plain convolutions with torch's initialization, biases everywhere. No
    layer mixes images, so it works with `r1`, and two ranks equal one process with twice the batch.

    Args:
        image_size: S; a power of two, 4 or more.
        base_channels: Channels of features up to side 32; half as many at each doubling beyond.
        channel_multiplier: Multiplies the channels of features beyond side 32.

    Raises:
        UserError: A side that cannot be halved down to 4, or images of another size than S.
    """

    def __init__(
        self, image_size: int = 256, in_channels: int = 3, base_channels: int = 512, channel_multiplier: int = 1
    ) -> None:
        super().__init__()
        if image_size < LAST_SIDE or image_size & (image_size - 1):
            raise UserError(
                f'StyleGANDiscriminator: image_size must be a power of two of 4 or more, got {image_size}; '
                'choose one such as 256, or PatchGAN, which takes images of any size.'
            )
        self.image_size = image_size
        channels, side = [], image_size
        while side >= LAST_SIDE:
            thinned = max(1, base_channels * FULL_WIDTH_SIDE // side) * channel_multiplier
            channels.append(thinned if side > FULL_WIDTH_SIDE else base_channels)
            side //= 2
        self.conv_in = nn.Conv2d(in_channels, channels[0], 3, padding=1)
        self.blocks = nn.ModuleList(DiscriminatorBlock(fine, coarse) for fine, coarse in itertools.pairwise(channels))
        self.conv_out = nn.Conv2d(channels[-1], base_channels, 3, padding=1)
        self.hidden = nn.Linear(base_channels * LAST_SIDE**2, base_channels)
        self.logit = nn.Linear(base_channels, 1)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        if images_BCHW.shape[-2:] != (self.image_size, self.image_size):
            raise UserError(
                f'StyleGANDiscriminator: built for images of {self.image_size} x {self.image_size}, got '
                f'{images_BCHW.shape[-2]} x {images_BCHW.shape[-1]}; set image_size to the side of the crops.'
            )
        h = leaky_relu(self.conv_in(images_BCHW))
        for block in self.blocks:
            h = block(h)
        h = leaky_relu(self.conv_out(h))
        return self.logit(leaky_relu(self.hidden(h.flatten(1))))

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """16 channels, for the 64-pixel images of smoke runs."""
        return dict(image_size=64, base_channels=16)


class DiscriminatorBlock(nn.Module):
    """Two convolutions, a blur and a strided convolution, plus a 1 x 1 shortcut, divided by sqrt(2)."""

    def __init__(self, in_channels: int, out_channels: int, downsample: bool = True) -> None:
        super().__init__()
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1, stride=2 if downsample else 1)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        down = [Blur(), nn.Conv2d(out_channels, out_channels, 3, stride=2, padding=1)]
        self.downsample = nn.Sequential(*down) if downsample else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = leaky_relu(self.conv2(leaky_relu(self.conv1(x))))
        return (self.downsample(h) + self.shortcut(x)) * math.sqrt(0.5)


class Blur(nn.Module):
    """The binomial filter [1, 2, 1] / 4 along both axes of each channel, with mirrored borders; keeps the shape."""

    kernel_33: Tensor

    def __init__(self) -> None:
        super().__init__()
        taps = torch.tensor([0.25, 0.5, 0.25])
        self.register_buffer('kernel_33', taps[:, None] * taps, persistent=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        C = x_BCHW.shape[1]
        kernel = self.kernel_33.to(x_BCHW.dtype).expand(C, 1, 3, 3)
        return F.conv2d(mirrored(x_BCHW), kernel, groups=C)


def mirrored(x: Tensor) -> Tensor:
    """With a row and a column more on each side, mirrored, in x's memory order, which `F.pad` does not keep on a GPU."""
    if x.is_contiguous() or not x.is_contiguous(memory_format=torch.channels_last):
        return F.pad(x, (1, 1, 1, 1), mode='reflect')
    x = torch.cat([x[:, :, 1:2], x, x[:, :, -2:-1]], 2)
    return torch.cat([x[..., 1:2], x, x[..., -2:-1]], 3)


def leaky_relu(x: Tensor) -> Tensor:
    return F.leaky_relu_(x, 0.2)
