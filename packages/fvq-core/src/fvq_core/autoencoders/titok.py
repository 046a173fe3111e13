"""TiTok (Yu et al., 2024, "An image is worth 32 tokens"): vision transformers between an image and a short sequence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from .. import positions as kinds
from ..autoencoder import Decoder, Encoder
from ..errors import UserError
from ..positions import Positions
from ..registry import DECODERS, ENCODERS
from ..registry.argument_types import check_sizes
from .layers.token_transformer import TokenTransformer, initialize


@ENCODERS.register_module()
class TiTokEncoder(Encoder):
    """Images in [-1, 1] to a sequence (B, z_channels, tokens); the network itself works on [0, 1].

    Learned tokens stand behind the patches of the image; what becomes of them is the latent. Positions are learned for one
    size of images and never interpolated. Published sizes are `width`, `depth`, `heads`, `tokens` = 512, 8, 8, 128 (S), 768,
    12, 12, 64 (B) and 1024, 24, 16, 32 (L); the defaults are S.

    Args:
        image_size: Height and width of the images, or the side of square ones; multiples of `patch_size`.
        patch_size: Side of a patch in pixels.
        width, depth, heads: Channels of the transformer, number of its blocks, attention heads of each.
        tokens: L, the number of learned tokens.
        z_channels: Channels of the latent; those of a KL autoencoder times two.
        legacy: Take the tokens (L, width) for (width, L) without a transpose, as the released S, B and L do: each entry of
            the sequence then mixes channels of several tokens.
        in_channels: Channels of the image.
        checkpointing: Recompute each block in the backward pass instead of keeping its activations.
        init_std: Standard deviation of the initial weights. 0.02 as published, for 512 channels and more; a narrow network
            with it gives all images nearly the same tokens, and hardly learns: take `width**-0.5` there.
    """

    kind = kinds.Sequence

    def __init__(
        self,
        image_size: int | Sequence[int] = 256,
        patch_size: int = 16,
        width: int = 512,
        depth: int = 8,
        heads: int = 8,
        tokens: int = 128,
        z_channels: int = 12,
        legacy: bool = False,
        in_channels: int = 3,
        checkpointing: bool = False,
        init_std: float = 0.02,
    ) -> None:
        super().__init__()
        check_sizes('TiTokEncoder', z_channels=z_channels, in_channels=in_channels)
        rows, columns = patch_grid('TiTokEncoder', image_size, patch_size)
        self.image_size = (rows * patch_size, columns * patch_size)
        self.in_channels, self.out_channels, self.downsample_factor = in_channels, z_channels, patch_size
        self.tokens, self.legacy = tokens, legacy
        self.transformer = TokenTransformer(rows * columns, tokens, width, depth, heads, checkpointing)
        self.patch_embed = nn.Conv2d(in_channels, width, patch_size, patch_size)
        self.latent_tokens = nn.Parameter(width**-0.5 * torch.randn(tokens, width))
        self.norm_out = nn.LayerNorm(width)
        self.proj_out = nn.Linear(width, z_channels)
        initialize(self, init_std)

    @property
    def example_size(self) -> tuple[int, int]:
        return self.image_size

    def positions(self, height: int, width: int) -> Positions:
        check_image_size('TiTokEncoder', (height, width), self.image_size)
        return kinds.Sequence(self.tokens)

    def check_positions(self, positions: Positions) -> None:
        super().check_positions(positions)
        if positions.length != self.tokens:
            raise UserError(f'TiTokEncoder gives {self.tokens} tokens, not {positions}.')

    def forward(self, images_BCHW: Tensor) -> Tensor:
        patches_BNC = self.patch_embed((images_BCHW + 1) / 2).flatten(2).mT
        latents_BLC = self.transformer(patches_BNC, self.latent_tokens.expand(images_BCHW.shape[0], -1, -1))[1]
        latents_BLC = self.norm_out(latents_BLC)
        if self.legacy:
            B, L, C = latents_BLC.shape
            latents_BLC = latents_BLC.reshape(B, C, L).mT
        return self.proj_out(latents_BLC).mT

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """Images of 64 pixels, two blocks of 32 channels, at most 16 of the latent, as small quantizers have."""
        return dict(
            image_size=64, patch_size=16, width=32, depth=2, heads=2, z_channels=min(cfg.get('z_channels', 12), 16)
        )


@DECODERS.register_module()
class TiTokDecoder(Decoder):
    """A sequence (B, z_channels, tokens) to images in [-1, 1]. Each patch starts as the same learned mask token.

    TA-TiTok (Kim et al., 2025) puts features of a text behind the sequence:

        with tokenizer.decoder.guided_by(text_BTC):
            images = tokenizer.decode(codes)

    Outside, an image is decoded from its own tokens only, which the released weights of TA-TiTok were not trained for.

    Args:
        image_size, patch_size, width, depth, heads, tokens, checkpointing, init_std: See `TiTokEncoder`.
        z_channels: D, channels of the latent.
        head: Config of a component of `DECODERS` from features (B, width, h, w) of patches to images: `PatchHead` by default,
            `ProxyCodesHead` in the published two stages.
        text_length: T, the largest number of text tokens; 0 for none, 77 in TA-TiTok.
        text_width: Channels of a text token; 768 in TA-TiTok, the last hidden states of CLIP ViT-L/14's text encoder.
        encoder_patch_size: Side of the encoder's patches, if not `patch_size`.
    """

    def __init__(
        self,
        image_size: int | Sequence[int] = 256,
        patch_size: int = 16,
        width: int = 512,
        depth: int = 8,
        heads: int = 8,
        tokens: int = 128,
        z_channels: int = 12,
        head: Mapping[str, Any] | None = None,
        text_length: int = 0,
        text_width: int = 768,
        encoder_patch_size: int | None = None,
        checkpointing: bool = False,
        init_std: float = 0.02,
    ) -> None:
        super().__init__()
        check_sizes('TiTokDecoder', z_channels=z_channels, text_width=text_width)
        if text_length < 0:
            raise UserError(
                f'TiTokDecoder: text_length must be 0 or more, got {text_length}; 77 is the published value.'
            )
        self.grid, self.tokens = patch_grid('TiTokDecoder', image_size, patch_size), tokens
        self.in_channels, self.upsample_factor = z_channels, encoder_patch_size or patch_size
        self.text_length, self.text_width, self.text_BTC = text_length, text_width, cast(Tensor | None, None)
        patches = self.grid[0] * self.grid[1]
        self.transformer = TokenTransformer(patches, tokens, width, depth, heads, checkpointing, text_length)
        self.mask_token = nn.Parameter(width**-0.5 * torch.randn(width))
        self.embed = nn.Linear(z_channels, width)
        self.text_embed = nn.Linear(text_width, width) if text_length else None
        self.norm_out = nn.LayerNorm(width)
        initialize(self, init_std)
        self.head: Decoder = DECODERS.build(head or dict(type='PatchHead'), width=width, patch_size=patch_size)
        if self.head.upsample_factor != patch_size:
            raise UserError(
                f'TiTokDecoder: the head multiplies the side by {self.head.upsample_factor}, patches have {patch_size} '
                'pixels; give the pixel decoder other levels, or encoder and decoder another patch_size.'
            )

    @property
    def last_layer(self) -> nn.Parameter:
        return self.head.last_layer

    @contextmanager
    def guided_by(self, text_BTC: Tensor) -> Iterator[None]:
        """Inside, images are decoded with these features of their texts, (B, T, text_width)."""
        shape = tuple(text_BTC.shape)
        if len(shape) != 3 or shape[2] != self.text_width or not 0 < shape[1] <= self.text_length:
            takes = f'(B, T, {self.text_width}) of at most {self.text_length} tokens' if self.text_length else 'no text'
            raise UserError(f'TiTokDecoder: takes {takes}, got {shape}.')
        before, self.text_BTC = self.text_BTC, text_BTC
        try:
            yield
        finally:
            self.text_BTC = before

    def features(self, z_BDL: Tensor) -> Tensor:
        """(B, D, L) to (B, width, h, w), what the head takes."""
        if z_BDL.shape[2] != self.tokens:
            raise UserError(f'TiTokDecoder: made for {self.tokens} tokens, got {z_BDL.shape[2]}.')
        text_BTC = self.text_BTC
        if text_BTC is not None and self.text_embed is not None:
            text_BTC = self.text_embed(text_BTC.to(z_BDL.dtype))
        masks_BNC = self.mask_token.expand(z_BDL.shape[0], self.grid[0] * self.grid[1], -1)
        patches_BNC = self.transformer(masks_BNC, self.embed(z_BDL.mT), text_BTC)[0]
        return self.norm_out(patches_BNC).mT.unflatten(2, self.grid)

    def forward(self, features_BEHW: Tensor, z_q_BDHW: Tensor | None = None) -> Tensor:
        return self.head(self.features(features_BEHW))

    smoke = staticmethod(TiTokEncoder.smoke)


def check_image_size(owner: str, given: tuple[int, int], learned: tuple[int, int]) -> None:
    """Raise if images are of another height and width than learned positions are for."""
    if given != learned:
        raise UserError(
            f'{owner}: its positions are learned for images of {learned[0]}x{learned[1]}, got {given[0]}x{given[1]}; crop or '
            'resize them, or set image_size of encoder and decoder.'
        )


def patch_grid(owner: str, image_size: int | Sequence[int], patch_size: int) -> tuple[int, int]:
    """Rows and columns of the patches of an image; raises if patches do not cut it evenly."""
    check_sizes(owner, image_size=image_size, patch_size=patch_size)
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    if height % patch_size or width % patch_size:
        raise UserError(
            f'{owner}: image_size {height}x{width} is not a multiple of patch_size {patch_size}; change one of them.'
        )
    return height // patch_size, width // patch_size
