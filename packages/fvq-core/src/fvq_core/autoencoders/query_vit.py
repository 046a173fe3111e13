"""XQ-GAN's encoder and decoder (Li et al., 2024): vision transformers with a learned query for each position of the latent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..autoencoder import Decoder, Encoder
from ..codes import Grid, Positions
from ..errors import UserError
from ..registry import DECODERS, ENCODERS
from ..registry.argument_types import check_sizes
from .layers.levels import run_block
from .layers.tokens import to_tokens
from .layers.vit_block import ViTBlock
from .titok import check_image_size, patch_grid


class QueryTransformer(nn.Module):
    """[class token, patches] and the tokens of the latent through a DINOv2-like ViT: what both halves share.

    With `shared_positions` a token of the latent gets the patches' position at its place, resized from their grid to the
    latent's, and each kind of token a learned vector; without, tokens of the latent have learned positions of their own.

    Args:
        patches: (rows, columns) of the patches.
        grid: (rows, columns) of the latent.
        groups: How many latents there are.
        class_again: Whether the class token stands in front of the latent a second time.
    """

    def __init__(
        self,
        patches: tuple[int, int],
        grid: tuple[int, int],
        groups: int,
        width: int,
        depth: int,
        heads: int,
        shared_positions: bool,
        class_again: bool,
        drop_path: float,
        layer_scale: float,
        checkpointing: bool,
    ) -> None:
        super().__init__()
        self.patches, self.grid, self.checkpointing = patches, grid, checkpointing
        count, self.length = patches[0] * patches[1], grid[0] * grid[1]
        self.class_again = class_again and shared_positions
        self.class_token = nn.Parameter(torch.empty(width).normal_(std=1e-6))
        self.positions = nn.Parameter(nn.init.trunc_normal_(torch.empty(1 + count, width), std=0.02))
        self.kinds = self.latent_positions = None
        if shared_positions:
            self.kinds = nn.Parameter(nn.init.trunc_normal_(torch.empty(1 + groups, width), std=(3 * width) ** -0.5))
        else:
            own = torch.empty(groups * self.length, width)
            self.latent_positions = nn.Parameter(nn.init.trunc_normal_(own, std=0.02))
        options: dict[str, Any] = dict(eps=1e-6, layer_scale=layer_scale)
        rates = [drop_path * index / max(1, depth - 1) for index in range(depth)]
        self.blocks = nn.ModuleList(ViTBlock(width, heads, drop_path=rate, **options) for rate in rates)
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, patches_BNC: Tensor, latents_BLC: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N, C) and (B, groups L, C) to the same, behind the last norm."""
        B, N, C = patches_BNC.shape
        class_B1C = (self.class_token + self.positions[0]).expand(B, 1, C)
        x_BTC, tokens_BLC = torch.cat([class_B1C, patches_BNC + self.positions[1:]], 1), latents_BLC
        if self.kinds is not None:
            x_BTC = x_BTC + self.kinds[0]
            tokens_BGLC = latents_BLC.unflatten(1, (-1, self.length)) + self.resized_positions()
            if self.class_again:
                tokens_BGLC = torch.cat([class_B1C[:, None], tokens_BGLC], 2)
            tokens_BLC = (tokens_BGLC + self.kinds[1:, None]).flatten(1, 2)
        elif self.latent_positions is not None:
            tokens_BLC = latents_BLC + self.latent_positions
        x_BTC = torch.cat([x_BTC, tokens_BLC], 1)
        for block in self.blocks:
            x_BTC = run_block(block, x_BTC, self.checkpointing)
        x_BTC = self.norm(x_BTC)
        return x_BTC[:, 1 : 1 + N], x_BTC[:, -latents_BLC.shape[1] :]

    def resized_positions(self) -> Tensor:
        """(L, C): those of the patches on the latent's grid."""
        if self.grid == self.patches:
            return self.positions[1:]
        table_1CHW = self.positions[1:].float().mT.unflatten(1, self.patches)[None]
        resized = F.interpolate(table_1CHW, self.grid, mode='bicubic', antialias=True)
        return to_tokens(resized)[0].to(self.positions.dtype)


@ENCODERS.register_module()
class QueryViTEncoder(Encoder):
    """Images in [-1, 1] to a grid (B, groups z_channels, h, w): what becomes of the queries that stand behind the patches.

    Each group of `z_channels` channels is a latent of its own, with its own queries and one common linear map: with a
    `ProductQuantizer`, and `Tokenizer(quant_kernel=0)`. The grid need not be that of the patches. Sizes, as `width`,
    `depth`, `heads`: 384, 12, 6 (S), 768, 12, 12 (B, the default and XQ-GAN's), 1024, 24, 16 (L) and 1280, 36, 20 (XL).

    Args:
        image_size: Height and width of the images, or the side of square ones; multiples of `patch_size`.
        patch_size: Side of a patch in pixels.
        latent_size: Height and width of the latent, or the side of a square one; the grid of the patches by default. XQ-GAN
            has 11 with several scales.
        width, depth, heads: Channels of the transformer, number of its blocks, attention heads of each.
        groups: Number of latents; 2 in XQ-GAN's product quantization.
        z_channels: Channels of each latent.
        shared_positions: Whether queries get the positions of the patches at their place, as released, or their own.
        in_channels: Channels of the image.
        drop_path: Probability that training leaves out a branch of the last block for an image; it grows from 0 in the
            first. 0.1 in XQ-GAN.
        layer_scale: Initial factor of the blocks' branches. 1e-5 in DINOv2, whose weights XQ-GAN starts from; from random
            weights 1 learns, and 1e-5 hardly.
        checkpointing: Recompute each block in the backward pass instead of keeping its activations.
    """

    def __init__(
        self,
        image_size: int | Sequence[int] = 256,
        patch_size: int = 16,
        latent_size: int | Sequence[int] | None = None,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        groups: int = 1,
        z_channels: int = 32,
        shared_positions: bool = True,
        in_channels: int = 3,
        drop_path: float = 0.0,
        layer_scale: float = 1.0,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        check_sizes('QueryViTEncoder', width=width, depth=depth, heads=heads, groups=groups, z_channels=z_channels)
        patches = patch_grid('QueryViTEncoder', image_size, patch_size)
        self.image_size = (patches[0] * patch_size, patches[1] * patch_size)
        self.grid, self.groups = latent_grid('QueryViTEncoder', latent_size, patches), groups
        self.in_channels, self.out_channels, self.downsample_factor = in_channels, groups * z_channels, patch_size
        self.transformer = QueryTransformer(
            patches,
            self.grid,
            groups,
            width,
            depth,
            heads,
            shared_positions,
            class_again=False,
            drop_path=drop_path,
            layer_scale=layer_scale,
            checkpointing=checkpointing,
        )
        self.patch_embed = nn.Conv2d(in_channels, width, patch_size, patch_size)
        self.queries = nn.Parameter(torch.empty(groups * self.grid[0] * self.grid[1], width).normal_(std=1e-6))
        self.proj_out = nn.Linear(width, z_channels)
        self.apply(initialize)

    @property
    def example_size(self) -> tuple[int, int]:
        return self.image_size

    def positions(self, height: int, width: int) -> Positions:
        check_image_size('QueryViTEncoder', (height, width), self.image_size)
        return Grid(*self.grid)

    def check_positions(self, positions: Positions) -> None:
        super().check_positions(positions)
        if positions != Grid(*self.grid):
            raise UserError(f'QueryViTEncoder gives {Grid(*self.grid)}, not {positions}.')

    def forward(self, images_BCHW: Tensor) -> Tensor:
        patches_BNC = to_tokens(self.patch_embed(images_BCHW))
        latents_BLC = self.transformer(patches_BNC, self.queries.expand(images_BCHW.shape[0], -1, -1))[1]
        z_BGLD = self.proj_out(latents_BLC).unflatten(1, (self.groups, -1))
        return z_BGLD.mT.flatten(1, 2).unflatten(2, self.grid)

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """Images of 64 pixels and their patches' grid, two blocks of 32 channels, few channels of the latent."""
        few = min(cfg.get('z_channels', 32), 16)  # of each group, as small quantizers have
        return dict(
            image_size=64, patch_size=16, latent_size=None, width=32, depth=2, heads=2, z_channels=few, layer_scale=1.0
        )


@DECODERS.register_module()
class QueryViTDecoder(Decoder):
    """A grid (B, groups z_channels, h, w) to images in [-1, 1]: each patch starts as the same learned mask token.

    The mirror of `QueryViTEncoder`, whose arguments it takes; behind the blocks a linear map gives the pixels of a patch.

    Args:
        out_channels: Channels of the image.
    """

    def __init__(
        self,
        image_size: int | Sequence[int] = 256,
        patch_size: int = 16,
        latent_size: int | Sequence[int] | None = None,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        groups: int = 1,
        z_channels: int = 32,
        shared_positions: bool = True,
        out_channels: int = 3,
        drop_path: float = 0.0,
        layer_scale: float = 1.0,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        check_sizes('QueryViTDecoder', width=width, depth=depth, heads=heads, groups=groups, z_channels=z_channels)
        self.patches = patch_grid('QueryViTDecoder', image_size, patch_size)
        self.grid = latent_grid('QueryViTDecoder', latent_size, self.patches)
        self.in_channels, self.upsample_factor = groups * z_channels, patch_size
        self.transformer = QueryTransformer(
            self.patches,
            self.grid,
            1,
            width,
            depth,
            heads,
            shared_positions,
            class_again=True,
            drop_path=drop_path,
            layer_scale=layer_scale,
            checkpointing=checkpointing,
        )
        self.embed = nn.Linear(groups * z_channels, width)
        self.mask_token = nn.Parameter(torch.empty(width).normal_(std=1e-6))
        self.to_pixels = nn.Linear(width, out_channels * patch_size**2)
        self.apply(initialize)

    @property
    def last_layer(self) -> nn.Parameter:
        return cast(nn.Parameter, self.to_pixels.weight)

    def forward(self, features_BEHW: Tensor, z_q_BDHW: Tensor | None = None) -> Tensor:
        if tuple(features_BEHW.shape[-2:]) != self.grid:
            raise UserError(f'QueryViTDecoder: made for a grid {self.grid}, got {tuple(features_BEHW.shape[-2:])}.')
        masks_BNC = self.mask_token.expand(features_BEHW.shape[0], self.patches[0] * self.patches[1], -1)
        patches_BNC = self.transformer(masks_BNC, self.embed(to_tokens(features_BEHW)))[0]
        p = self.upsample_factor
        pixels_BhwppC = self.to_pixels(patches_BNC).unflatten(2, (p, p, -1)).unflatten(1, self.patches)
        return pixels_BhwppC.permute(0, 5, 1, 3, 2, 4).flatten(4).flatten(2, 3)

    smoke = staticmethod(QueryViTEncoder.smoke)


def latent_grid(owner: str, latent_size: int | Sequence[int] | None, patches: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of the latent."""
    if latent_size is None:
        return patches
    check_sizes(owner, latent_size=latent_size)
    rows, columns = (latent_size, latent_size) if isinstance(latent_size, int) else latent_size
    return rows, columns


def initialize(module: nn.Module) -> None:
    """timm's start of vision transformers: linear maps truncated normal of 0.02, their biases zero."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
