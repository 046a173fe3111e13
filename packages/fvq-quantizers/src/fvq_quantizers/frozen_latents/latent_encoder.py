"""The encoder of a frozen autoencoder, and an adapter of its latents behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from torch import Tensor

from fvq_core.autoencoder import Autoencoder, Encoder
from fvq_core.codes import Grid, LatentLayout, Latents, Positions
from fvq_core.errors import UserError
from fvq_core.registry import ENCODERS, TOKENIZERS


@ENCODERS.register_module()
class LatentEncoder(Encoder):
    """Images (B, 3, H, W) to features of an autoencoder's latents, (B, E, h, w) or (B, E, L).

    The adapter sees normalized latents, scale (z - shift), of about unit variance; of a distribution, its mean.

    Args:
        autoencoder: Config of a continuous autoencoder of `TOKENIZERS` with latents on a grid, such as a `KLAutoencoder`.
        adapter: Config of a component of `ENCODERS` that takes latents where others take images; `IdentityEncoder` by
            default.

    Attributes:
        autoencoder: The whole autoencoder; a `LatentTokenizer` decodes with it.

    Raises:
        UserError: An autoencoder with codes or sequences, or an adapter of other channels.
    """

    def __init__(self, autoencoder: Mapping[str, Any], adapter: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.autoencoder: Autoencoder = TOKENIZERS.build(autoencoder)
        source, D = self.autoencoder, self.autoencoder.latent_channels
        if source.quantizer is not None or source.encoder.kind is not Grid:
            what = 'has codes' if source.quantizer is not None else 'has sequences'
            raise UserError(
                f'LatentEncoder: takes a continuous autoencoder with latents on a grid, {type(source).__name__} {what}.'
            )
        self.adapter: Encoder = ENCODERS.build(adapter or dict(type='IdentityEncoder'), in_channels=D)
        if self.adapter.in_channels != D:
            name, given = type(self.adapter).__name__, self.adapter.in_channels
            raise UserError(f'LatentEncoder: the latents have {D} channels, {name} takes {given}; set in_channels={D}.')
        cast(Any, self).kind = self.adapter.kind
        self.in_channels, self.out_channels = source.encoder.in_channels, self.adapter.out_channels
        self.downsample_factor = source.downsample_factor * self.adapter.downsample_factor

    def positions(self, height: int, width: int) -> Positions:
        return self.adapter.positions(*self.autoencoder.encoder.positions(height, width).shape)

    def check_positions(self, positions: Positions) -> None:
        self.adapter.check_positions(positions)

    @property
    def example_size(self) -> tuple[int, int]:
        size = self.autoencoder.encoder.example_size
        try:
            self.positions(*size)
        except UserError:  # an adapter of latents of one size
            height, width = self.adapter.example_size
            size = height * self.autoencoder.downsample_factor, width * self.autoencoder.downsample_factor
        return size

    @property
    def example_layout(self) -> LatentLayout:
        """How the latent of an image of `example_size` is arranged."""
        return self.autoencoder.latent_layout(*self.example_size)

    def adapt(self, latents: Latents) -> Tensor:
        """Features of latents that are known already; raises if they cannot be this autoencoder's."""
        self.autoencoder.check_layout(latents.layout)
        values_BDHW = latents.normalized()
        dtype = next((parameter.dtype for parameter in self.adapter.parameters()), values_BDHW.dtype)
        return self.adapter(values_BDHW.to(dtype))

    def forward(self, images_BCHW: Tensor) -> Tensor:
        layout = self.autoencoder.latent_layout(*images_BCHW.shape[-2:])
        return self.adapt(Latents(self.autoencoder.encode_latent(images_BCHW), layout))
