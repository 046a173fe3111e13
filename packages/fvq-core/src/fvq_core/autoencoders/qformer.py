"""GigaTok's 1-D encoder and decoder (Xiong et al., 2025, section 3): Q-Formers between convolutions and a sequence of codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import positions as kinds
from ..autoencoder import Decoder, Encoder
from ..errors import UserError
from ..positions import Positions
from ..registry import DECODERS, ENCODERS, find_component
from ..registry.argument_types import check_sizes
from .layers.qformer import QFormer
from .layers.token_transformer import initialize
from .layers.tokens import to_tokens
from .titok import check_image_size, patch_grid


@ENCODERS.register_module()
class QFormerEncoder(Encoder):
    """Images in [-1, 1] to a sequence (B, z_channels, tokens): queries read the features of a convolutional encoder.

    The queries start as means of the embedded features over the image, its halves, its quarters and so on (`level_means`).
    Positions are learned for one size of images and never interpolated. Use `Tokenizer(quant_kernel=0)`. Published sizes
    are `width`, `depth`, `heads` = 512, 6, 8 (S), 768, 12, 12 (B), 1024, 24, 16 (L), 1280, 36, 20 (XL) and 1536, 48, 24
    (XXL); the defaults are S.

    Args:
        cnn: Config of the component of `ENCODERS` that the queries read; its features have E channels on a grid.
        image_size: Height and width of the images, or the side of square ones.
        width, depth, heads: Channels of the transformer, number of its blocks, attention heads of each.
        tokens: L, the length of the sequence: a power of two, whose finest blocks cut the grid of features evenly.
        z_channels: Channels of the latent, behind linear maps to E and from there.
        checkpointing: Recompute each block of the transformer in the backward pass; `cnn` has its own.
        init_std: See `TiTokEncoder`; here of the convolutions too.

    Raises:
        UserError: A length that is not a power of two, or blocks that do not fit the grid.
    """

    kind = kinds.Sequence

    def __init__(
        self,
        cnn: Mapping[str, Any],
        image_size: int | Sequence[int] = 256,
        width: int = 512,
        depth: int = 6,
        heads: int = 8,
        tokens: int = 256,
        z_channels: int = 8,
        checkpointing: bool = False,
        init_std: float = 0.02,
    ) -> None:
        super().__init__()
        check_sizes('QFormerEncoder', width=width, z_channels=z_channels, tokens=tokens)
        self.cnn: Encoder = ENCODERS.build(cnn)
        self.in_channels, self.out_channels, self.tokens = self.cnn.in_channels, z_channels, tokens
        self.downsample_factor, channels = self.cnn.downsample_factor, self.cnn.out_channels
        rows, columns = self.grid = patch_grid('QFormerEncoder', image_size, self.downsample_factor)
        self.image_size = (rows * self.downsample_factor, columns * self.downsample_factor)
        finest = level_blocks(tokens)[-1]
        if tokens & (tokens - 1) or rows % finest[0] or columns % finest[1]:
            raise UserError(
                f'QFormerEncoder: {tokens} tokens do not halve a grid of {rows}x{columns} again and again; take a power of '
                'two, or images of another size.'
            )
        self.embed = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, width))
        self.query_map = nn.Linear(width, width)
        self.transformer = QFormer(tokens, rows * columns, width, depth, heads, checkpointing)
        self.proj_out = nn.Linear(width, channels)
        initialize(self, init_std)
        self.to_latent = nn.Linear(channels, z_channels)  # starts as torch starts it, as in the release

    @property
    def example_size(self) -> tuple[int, int]:
        return self.image_size

    def positions(self, height: int, width: int) -> Positions:
        check_image_size('QFormerEncoder', (height, width), self.image_size)
        return kinds.Sequence(self.tokens)

    def check_positions(self, positions: Positions) -> None:
        super().check_positions(positions)
        if positions.length != self.tokens:
            raise UserError(f'QFormerEncoder gives {self.tokens} tokens, not {positions}.')

    def forward(self, images_BCHW: Tensor) -> Tensor:
        memory_BNC = self.embed(to_tokens(self.cnn(images_BCHW)))
        starts_BLC = level_means(memory_BNC.mT.unflatten(2, self.grid), self.tokens)
        return self.to_latent(self.proj_out(self.transformer(self.query_map(starts_BLC), memory_BNC))).mT

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """Images of 64 pixels, 16 tokens, three blocks of 16 channels, as many between transformer and small convolutions."""
        kind: Any = find_component(cfg['cnn']['type'])
        few = min(cfg.get('z_channels', 8), 16)
        sizes = dict(image_size=64, width=16, depth=3, heads=2, tokens=16, z_channels=few, init_std=0.25)
        return dict(sizes, cnn={**cfg['cnn'], **kind.smoke(cfg['cnn']), 'type': kind.__name__, 'z_channels': 16})


@DECODERS.register_module()
class QFormerDecoder(Decoder):
    """A sequence (B, z_channels, tokens) to images in [-1, 1]: queries for the positions of a grid read it, `cnn` draws them.

    Every query starts as the first token of the sequence. Arguments that are not listed are those of `QFormerEncoder`.

    Args:
        cnn: Config of the component of `DECODERS` that makes images of the grid.
    """

    def __init__(
        self,
        cnn: Mapping[str, Any],
        image_size: int | Sequence[int] = 256,
        width: int = 512,
        depth: int = 6,
        heads: int = 8,
        tokens: int = 256,
        z_channels: int = 8,
        checkpointing: bool = False,
        init_std: float = 0.02,
    ) -> None:
        super().__init__()
        check_sizes('QFormerDecoder', width=width, z_channels=z_channels)
        self.cnn: Decoder = DECODERS.build(cnn)
        self.in_channels, self.upsample_factor, self.tokens = z_channels, self.cnn.upsample_factor, tokens
        rows, columns = self.grid = patch_grid('QFormerDecoder', image_size, self.upsample_factor)
        channels = self.cnn.in_channels
        self.embed = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, width))
        self.transformer = QFormer(rows * columns, tokens, width, depth, heads, checkpointing)
        self.conv_out = nn.Conv2d(width, channels, 3, padding=1)
        initialize(self, init_std)
        self.from_latent = nn.Linear(z_channels, channels)

    @property
    def last_layer(self) -> nn.Parameter:
        return self.cnn.last_layer

    def forward(self, features_BEHW: Tensor, z_q_BDHW: Tensor | None = None) -> Tensor:
        if features_BEHW.shape[2] != self.tokens:
            raise UserError(f'QFormerDecoder: made for {self.tokens} tokens, got {features_BEHW.shape[2]}.')
        memory_BLC = self.embed(self.from_latent(features_BEHW.mT))
        grid_BNC = self.transformer(memory_BLC[:, :1].expand(-1, self.grid[0] * self.grid[1], -1), memory_BLC)
        return self.cnn(self.conv_out(grid_BNC.mT.unflatten(2, self.grid)))

    smoke = staticmethod(QFormerEncoder.smoke)


def level_blocks(tokens: int) -> list[tuple[int, int]]:
    """Rows and columns of blocks of each level: 1x1 twice, then columns and rows are cut in halves by turns."""
    levels = max(0, tokens.bit_length() - 1)
    return [(1, 1)] + [(2 ** (level // 2), 2 ** ((level + 1) // 2)) for level in range(levels)]


def level_means(x_BCHW: Tensor, tokens: int) -> Tensor:
    """(B, tokens, C): means over the blocks of each level in reading order, coarsest first; `tokens` is a power of two."""
    H, W = x_BCHW.shape[-2:]
    means = [F.avg_pool2d(x_BCHW, (H // rows, W // columns)) for rows, columns in level_blocks(tokens)]
    return torch.cat([to_tokens(mean) for mean in means], 1)
