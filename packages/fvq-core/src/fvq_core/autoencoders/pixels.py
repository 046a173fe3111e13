"""Images as their own latents, for generators of pixels (ADM, CDM)."""

from __future__ import annotations

from torch import Tensor, nn

from ..autoencoder import Autoencoder, Decoder, Encoder
from ..errors import UserError
from ..images import check_images
from ..registry import TOKENIZERS


class PixelEncoder(Encoder):
    """Images as they are."""

    in_channels = out_channels = 3
    downsample_factor = 1

    def forward(self, images_BCHW: Tensor) -> Tensor:
        return images_BCHW


class PixelDecoder(Decoder):
    """Images as they are."""

    in_channels = 3
    upsample_factor = 1

    @property
    def last_layer(self) -> nn.Parameter:
        raise UserError('PixelAutoencoder: has no weights, so there is nothing to train.')

    def forward(self, features_BEHW: Tensor, z_q_BDHW: Tensor | None = None) -> Tensor:
        return features_BEHW


@TOKENIZERS.register_module()
class PixelAutoencoder(Autoencoder):
    """The identity: latents are the pixels, RGB (B, 3, H, W) in [-1, 1]. It has no weights, and takes images on any device."""

    latent_channels = 3

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = PixelEncoder(), PixelDecoder()

    def encode_latent(self, images_BCHW: Tensor) -> Tensor:
        check_images(type(self).__name__, images_BCHW, self.latent_channels, images_BCHW.device)
        return self.encoder(images_BCHW.float())

    def decode_latent(self, z_BDHW: Tensor) -> Tensor:
        return self.decoder(self.checked_latent(z_BDHW))
