"""Small models of kinds that FVQ does not have yet: halves of a 1-D tokenizer, and a continuous autoencoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from fvq_core.autoencoder import Autoencoder, AutoencoderOutput, Decoder, Encoder
from fvq_core.codes import Positions, Sequence
from fvq_core.errors import UserError
from fvq_core.registry import DECODERS, ENCODERS, TOKENIZERS

SIDE, PATCH, TOKENS, DIM = 32, 8, 5, 6


@ENCODERS.register_module()
class SequenceEncoderStandIn(Encoder):
    """Patches of images of one size, mixed into tokens (B, D, L), as TiTok's encoder does with attention."""

    kind: ClassVar[type[Positions]] = Sequence

    def __init__(self) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.downsample_factor = 3, DIM, PATCH
        self.patches = nn.Conv2d(3, DIM, PATCH, PATCH)
        self.mix = nn.Linear((SIDE // PATCH) ** 2, TOKENS)

    def positions(self, height: int, width: int) -> Positions:
        if (height, width) != (SIDE, SIDE):
            raise UserError(f'SequenceEncoderStandIn: images are {SIDE}x{SIDE}, got {height}x{width}.')
        return Sequence(TOKENS)

    def check_positions(self, positions: Positions) -> None:
        if positions != Sequence(TOKENS):
            raise UserError(f'SequenceEncoderStandIn gives {Sequence(TOKENS)}, not {positions}.')

    @property
    def example_size(self) -> tuple[int, int]:
        return SIDE, SIDE

    def forward(self, images_BCHW: Tensor) -> Tensor:
        return self.mix(self.patches(images_BCHW).flatten(2))


@DECODERS.register_module()
class SequenceDecoderStandIn(Decoder):
    """Tokens to patches to images."""

    def __init__(self) -> None:
        super().__init__()
        self.in_channels, self.upsample_factor = DIM, PATCH
        self.mix = nn.Linear(TOKENS, (SIDE // PATCH) ** 2)
        self.pixels = nn.ConvTranspose2d(DIM, 3, PATCH, PATCH)

    @property
    def last_layer(self) -> nn.Parameter:
        return cast(nn.Parameter, self.pixels.weight)

    def forward(self, features_BEHW: Tensor, z_q_BDHW: Tensor | None = None) -> Tensor:
        return self.pixels(self.mix(features_BEHW).unflatten(2, (SIDE // PATCH, SIDE // PATCH)))


@TOKENIZERS.register_module()
class ContinuousAutoencoderStandIn(Autoencoder):
    """Half the features are a mean, half a log variance, as of a KL autoencoder; a draw in training, the mean in eval."""

    latent_scale, latent_shift = 0.5, 0.25

    def __init__(self, encoder: Mapping[str, Any], decoder: Mapping[str, Any], kl_weight: float = 1e-3) -> None:
        super().__init__()
        self.encoder, self.decoder = ENCODERS.build(encoder), DECODERS.build(decoder)
        self.check_scale_factors()
        self.kl_weight, self.latent_channels = kl_weight, self.decoder.in_channels

    def moments(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        mean_BDHW, log_variance_BDHW = self.features(images_BCHW).chunk(2, 1)
        return mean_BDHW, log_variance_BDHW.clamp(-30, 20)

    def encode_latent(self, images_BCHW: Tensor) -> Tensor:
        return self.moments(images_BCHW)[0]

    def decode_latent(self, z_BDHW: Tensor) -> Tensor:
        z_BDHW = self.checked_latent(z_BDHW)
        return self.decoder(z_BDHW, z_BDHW)

    def forward(self, images_BCHW: Tensor, labels_B: Tensor | None = None) -> AutoencoderOutput:
        if not self.training:
            return super().forward(images_BCHW, labels_B)
        mean, log_variance = self.moments(images_BCHW)
        z_BDHW = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        return AutoencoderOutput(self.decode_latent(z_BDHW), {'kl': self.kl_weight * kl}, None, self.largest(mean))
