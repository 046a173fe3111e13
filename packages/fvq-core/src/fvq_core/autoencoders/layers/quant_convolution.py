"""The convolutions between an encoder's features, the latent, and a decoder's features."""

from __future__ import annotations

from torch import nn

from ...autoencoder import Encoder
from ...codes import Grid
from ...errors import UserError


def quant_convolution(owner: str, encoder: Encoder, in_channels: int, out_channels: int, kernel: int) -> nn.Module:
    """One of them; the identity if its kernel is 0. `owner` begins messages; `encoder` gives the features."""
    if kernel and encoder.kind is not Grid:
        raise UserError(
            f'{owner}: quant_kernel {kernel} is a convolution over a grid, {type(encoder).__name__} gives a sequence; '
            'use quant_kernel=0.'
        )
    if kernel == 0 and in_channels == out_channels:
        return nn.Identity()
    if kernel % 2 == 0:
        raise UserError(
            f'{owner}: quant_kernel {kernel} cannot lead from {in_channels} to {out_channels} channels; use an odd one, '
            'or 0 if both are the same number, which z_channels of encoder and decoder set.'
        )
    return nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2)
