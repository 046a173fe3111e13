"""Small models of a kind that FVQ does not have yet: halves of a 1-D tokenizer."""

from __future__ import annotations

from typing import ClassVar, cast

from torch import Tensor, nn

from fvq_core.autoencoder import Decoder, Encoder
from fvq_core.codes import Positions, Sequence
from fvq_core.errors import UserError
from fvq_core.registry import DECODERS, ENCODERS

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
