"""The two halves of a 1-D tokenizer in somebody else's package: 64x64 images to a short sequence and back."""

from __future__ import annotations

from torch import Tensor, nn

from fvq_core.autoencoder import Decoder, Encoder
from fvq_core.codes import Positions, Sequence
from fvq_core.registry import DECODERS, ENCODERS

PATCH, PATCHES = 8, 8  # pixels of a patch's side, patches of an image's side


@ENCODERS.register_module()
class OutsideEncoder(Encoder):
    """Patches, mixed to as many tokens."""

    kind = Sequence
    in_channels, downsample_factor = 3, PATCH

    def __init__(self, channels: int = 16, tokens: int = 6) -> None:
        super().__init__()
        self.out_channels, self.tokens = channels, tokens
        self.patches = nn.Conv2d(3, channels, PATCH, PATCH)
        self.mix = nn.Linear(PATCHES**2, tokens)

    def positions(self, height: int, width: int) -> Positions:
        super().positions(height, width)
        return Sequence(self.tokens)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        return self.mix(self.patches(images_BCHW).flatten(2))


@DECODERS.register_module()
class OutsideDecoder(Decoder):
    """Tokens, spread over patches of pixels."""

    upsample_factor = PATCH

    def __init__(self, channels: int = 16, tokens: int = 6) -> None:
        super().__init__()
        self.in_channels = channels
        self.spread = nn.Linear(tokens, PATCHES**2)
        self.pixels = nn.ConvTranspose2d(channels, 3, PATCH, PATCH)

    @property
    def last_layer(self) -> nn.Parameter:
        return self.pixels.weight

    def forward(self, features_BEL: Tensor, z_q_BDL: Tensor | None = None) -> Tensor:
        return self.pixels(self.spread(features_BEL).unflatten(2, (PATCHES, PATCHES)))
