"""Latents of one size as a few vectors: ReVQ's codes, each a run of one channel's values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from fvq_core.autoencoder import Decoder, Encoder
from fvq_core.codes import Positions, Sequence
from fvq_core.errors import UserError
from fvq_core.registry import DECODERS, ENCODERS
from fvq_core.registry.argument_types import check_sizes

from .plain import AffineDecoder


@ENCODERS.register_module()
class FlatLatentEncoder(Encoder):
    """(B, C, H, W) to (B, E, `tokens`): the C H W values of a latent in their order, cut into vectors of E values.

    ReVQ (Zhang et al., 2025) is one token whose channels a `ProductQuantizer` cuts: each group is a run of values of one
    channel, and has a codebook of its own, as its place in the latent tells what to expect there. Several tokens share
    codebooks.

    Args:
        height, width: H and W, the only size that it takes.
        in_channels: C.
        tokens: Vectors of a latent.

    Raises:
        UserError: The values of a latent cannot be shared out evenly.
    """

    kind = Sequence
    downsample_factor = 1

    def __init__(self, height: int, width: int, in_channels: int, tokens: int = 1) -> None:
        super().__init__()
        check_sizes('FlatLatentEncoder', height=height, width=width, in_channels=in_channels, tokens=tokens)
        values = in_channels * height * width
        if values % tokens:
            raise UserError(f'FlatLatentEncoder: {values} values of a latent do not make {tokens} tokens of one size.')
        self.size, self.tokens = (height, width), tokens
        self.in_channels, self.out_channels = in_channels, values // tokens

    def positions(self, height: int, width: int) -> Positions:
        if (height, width) != self.size:
            raise UserError(f'FlatLatentEncoder: takes latents of {self.size}, got {height, width}; resize the images.')
        return Sequence(self.tokens)

    def check_positions(self, positions: Positions) -> None:
        if positions != Sequence(self.tokens):
            raise UserError(f'FlatLatentEncoder: gives {Sequence(self.tokens)}, not {positions}.')

    @property
    def example_size(self) -> tuple[int, int]:
        return self.size

    def forward(self, images_BCHW: Tensor) -> Tensor:
        self.positions(*images_BCHW.shape[2:])
        return images_BCHW.flatten(1).unflatten(1, (self.tokens, self.out_channels)).transpose(1, 2)


@DECODERS.register_module()
class FlatLatentDecoder(Decoder):
    """(B, E, `tokens`) to (B, C, H, W), the inverse of `FlatLatentEncoder`, and a rectifier behind it.

    Args:
        height, width: H and W.
        latent_channels: E.
        tokens: Vectors of a latent.
        rectifier: Config of a component of `DECODERS`, (B, C, H, W) to the same shape; `AffineDecoder` by default.
    """

    def __init__(
        self, height: int, width: int, latent_channels: int, tokens: int = 1, rectifier: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__()
        sizes = dict(height=height, width=width, latent_channels=latent_channels, tokens=tokens)
        check_sizes('FlatLatentDecoder', **sizes)
        C, rest = divmod(latent_channels * tokens, height * width)
        if rest:
            raise UserError(
                f'FlatLatentDecoder: {tokens} tokens of {latent_channels} values do not fill {height}x{width} positions.'
            )
        self.shape, self.in_channels = (C, height, width), latent_channels
        self.rectifier: Decoder = DECODERS.build(rectifier, latent_channels=C) if rectifier else AffineDecoder(C)
        self.upsample_factor = self.rectifier.upsample_factor
        if self.upsample_factor != 1 or self.rectifier.in_channels != C:
            name = type(self.rectifier).__name__
            raise UserError(
                f'FlatLatentDecoder: the rectifier takes and gives {C} channels of one size, {name} takes '
                f'{self.rectifier.in_channels} and enlarges them {self.upsample_factor} times.'
            )

    @property
    def last_layer(self) -> nn.Parameter:
        return self.rectifier.last_layer

    def forward(self, features_BEHW: Tensor, z_q_BDHW: Tensor | None = None) -> Tensor:
        x_BCHW = features_BEHW.transpose(1, 2).flatten(1).unflatten(1, self.shape)
        return self.rectifier(x_BCHW, x_BCHW)
