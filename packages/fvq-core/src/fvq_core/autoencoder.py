"""The contract of autoencoders and of their halves."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from .codes import Grid, Positions
from .errors import UserError


class Encoder(nn.Module):
    """Images (B, C, H, W) to features: (B, E, H/f, W/f), or (B, E, L) of an encoder of sequences (TiTok).

    Attributes:
        in_channels: C.
        out_channels: E.
        downsample_factor: f; image height and width must be multiples of it.
        kind: Of its positions, `Grid` or `Sequence`.
    """

    kind: ClassVar[type[Positions]] = Grid
    in_channels: int
    out_channels: int
    downsample_factor: int

    def positions(self, height: int, width: int) -> Positions:
        """The positions of the features of images of this size in pixels; an encoder of sequences returns a `Sequence`.

        Raises:
            UserError: Images of this size cannot be encoded.
        """
        f = self.downsample_factor
        if height % f or width % f or not height or not width:
            raise UserError(
                f'Tokenizer: image sides must be multiples of {f}, got {height}x{width}; crop or resize it.'
            )
        return Grid(height // f, width // f)


class Decoder(nn.Module):
    """Features to images; what an encoder is, backwards.

    Attributes:
        in_channels: Channels of the features.
        upsample_factor: f of the encoder.
    """

    in_channels: int
    upsample_factor: int

    @property
    def last_layer(self) -> nn.Parameter:
        """The weight of the last layer, which adaptive adversarial weights look at."""
        raise NotImplementedError

    def forward(self, features_BEHW: Tensor, z_q_BDHW: Tensor | None = None) -> Tensor:
        """Images (B, C, H, W), nominally in [-1, 1], not clamped.

        Args:
            features_BEHW: The latent after the convolution behind the quantizer.
            z_q_BDHW: The quantized latent itself, for decoders that are modulated by it (MoVQ); others ignore it.
        """
        raise NotImplementedError
