"""What TiTok's decoder makes of the features of patches: their pixels, or codes of another tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from ..autoencoder import Decoder
from ..errors import UserError
from ..registry import DECODERS
from ..registry.argument_types import check_sizes
from .layers.token_transformer import initialize


@DECODERS.register_module()
class PatchHead(Decoder):
    """Features (B, width, h, w) to images: a linear map gives the pixels of each patch, a 3x3 convolution runs over them.

    The single stage, and every released file that is not S, B or L.

    Args:
        width: Channels of the features; TiTok's decoder fills it in, as `patch_size`.
        out_channels: Channels of the image.
    """

    def __init__(self, width: int, patch_size: int, out_channels: int = 3) -> None:
        super().__init__()
        check_sizes('PatchHead', width=width, patch_size=patch_size, out_channels=out_channels)
        self.in_channels, self.upsample_factor = width, patch_size
        self.to_pixels = nn.Conv2d(width, patch_size**2 * out_channels, 1)
        self.conv_out = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        initialize(self)

    @property
    def last_layer(self) -> nn.Parameter:
        return cast(nn.Parameter, self.conv_out.weight)

    def forward(self, features_BEHW: Tensor, z_q_BDHW: Tensor | None = None) -> Tensor:
        p = self.upsample_factor
        pixels_BppChw = self.to_pixels(features_BEHW).unflatten(1, (p, p, -1))
        return self.conv_out(pixels_BppChw.permute(0, 3, 4, 1, 5, 2).flatten(4).flatten(2, 3)) * 2 - 1


@DECODERS.register_module()
class ProxyCodesHead(Decoder):
    """Features to logits of a frozen tokenizer's codes, and those to images: the published two stages.

    The probabilities of a patch's codes mix rows of that tokenizer's codebook, and its decoder makes an image of the mixture;
    no code is chosen. Both start as copies of the proxy tokenizer's (`ProxyCodesLoss`).

    Args:
        width: Channels of the features; TiTok's decoder fills it in.
        decoder: Config of the proxy tokenizer's decoder, a component of `DECODERS`.
        codebook_size, code_dim: Of the proxy tokenizer.
        stage: What training does. 1: it gets logits (B, codebook_size, h, w) in place of images, and codebook and pixel
            decoder rest. 2: it gets images, and both learn. In eval both stages give images.
    """

    def __init__(
        self,
        width: int,
        decoder: Mapping[str, Any],
        codebook_size: int = 1024,
        code_dim: int = 256,
        stage: Literal[1, 2] = 2,
    ) -> None:
        super().__init__()
        check_sizes('ProxyCodesHead', width=width, codebook_size=codebook_size, code_dim=code_dim)
        if stage not in (1, 2):
            raise UserError(f'ProxyCodesHead: stage must be 1 or 2, got {stage!r}.')
        self.in_channels, self.stage = width, stage
        self.to_logits = nn.Sequential(
            nn.Conv2d(width, 2 * width, 1), nn.Tanh(), nn.Conv2d(2 * width, codebook_size, 1)
        )
        initialize(self)
        self.codebook = nn.Parameter(torch.empty(codebook_size, code_dim).uniform_(-1, 1) / codebook_size)
        self.decoder: Decoder = DECODERS.build(decoder, latent_channels=code_dim)
        if self.decoder.in_channels != code_dim:
            raise UserError(
                f'ProxyCodesHead: codes have {code_dim} channels, {type(self.decoder).__name__} takes '
                f'{self.decoder.in_channels}; set code_dim, or z_channels of the decoder.'
            )
        self.upsample_factor = self.decoder.upsample_factor
        self.codebook.requires_grad_(stage == 2)
        self.decoder.requires_grad_(stage == 2)

    @property
    def last_layer(self) -> nn.Parameter:
        return self.decoder.last_layer

    def forward(self, features_BEHW: Tensor, z_q_BDHW: Tensor | None = None) -> Tensor:
        logits_BKHW = self.to_logits(features_BEHW)
        if self.training and self.stage == 1:
            return logits_BKHW
        shares_BHWK = logits_BKHW.movedim(1, 3).softmax(3)
        return self.decoder((shares_BHWK @ self.codebook).movedim(3, 1))

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """16 channels, as the small decoder takes them."""
        return dict(code_dim=16)
