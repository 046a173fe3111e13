"""The vision transformers of ViT-VQGAN (Yu et al., 2022, section 3.1), as in thuanz123/enhancing-transformers."""

from __future__ import annotations

from functools import partial
from typing import Any, cast

from torch import Tensor, nn

from ..autoencoder import Decoder, Encoder
from ..errors import UserError
from ..ops.sincos_positions import grid_positions
from ..registry import DECODERS, ENCODERS
from ..registry.argument_types import check_sizes
from .layers.levels import run_block
from .layers.tokens import to_grid, to_tokens
from .layers.vit_block import MLP, ViTBlock


class PositionedBlocks(nn.Module):
    """Fixed sine-cosine positions, pre-norm blocks with tanh between their two linear maps, and a LayerNorm.

    (B, width, H, W) to the same shape. Positions belong to any grid, so images may have other sides than in training.
    """

    def __init__(
        self, width: int, depth: int, heads: int, mlp_width: int | None, head_width: int, checkpointing: bool
    ) -> None:
        super().__init__()
        if width % 4:
            raise UserError(f'ViT-VQGAN: width must be a multiple of 4 for its sine-cosine positions, got {width}.')
        options: dict[str, Any] = dict(head_width=head_width, qkv_bias=False, mlp=partial(MLP, activation=nn.Tanh))
        ratio = 4.0 if mlp_width is None else mlp_width / width
        self.blocks = nn.ModuleList(ViTBlock(width, heads, ratio, **options) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.checkpointing = checkpointing

    def forward(self, x_BCHW: Tensor) -> Tensor:
        C, H, W = x_BCHW.shape[1:]
        x_BTC = to_tokens(x_BCHW)
        x_BTC = x_BTC + grid_positions(H, W, C, x_BTC.device).to(x_BTC.dtype)
        for block in self.blocks:
            x_BTC = run_block(block, x_BTC, self.checkpointing)
        return to_grid(self.norm(x_BTC), x_BCHW)


@ENCODERS.register_module()
class ViTVQGANEncoder(Encoder):
    """Images in [-1, 1] to features; the network itself works on [0, 1]. The defaults are ViT-VQGAN base.

    Small has `width=512, depth=8, heads=8`, large `width=1280, depth=32, heads=16`, the latter only for decoders (the
    paper's large model has a small encoder).

    Args:
        patch_size: Side of the square of pixels that becomes one position.
        width: Channels of every token, a multiple of 4.
        depth: Number of transformer blocks.
        heads: Attention heads, each of `head_width` channels whatever `width` is.
        mlp_width: Hidden channels of the blocks' MLPs; 4 `width` by default.
        in_channels: Channels of the image.
        checkpointing: Recompute each block in the backward pass instead of keeping its activations.
    """

    def __init__(
        self,
        patch_size: int = 8,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        mlp_width: int | None = None,
        head_width: int = 64,
        in_channels: int = 3,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        check_sizes('ViTVQGANEncoder', patch_size=patch_size, width=width, depth=depth, heads=heads)
        self.in_channels, self.out_channels, self.downsample_factor = in_channels, width, patch_size
        self.patches = nn.Conv2d(in_channels, width, patch_size, stride=patch_size)
        self.transformer = PositionedBlocks(width, depth, heads, mlp_width, head_width, checkpointing)
        self.apply(initialize)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        return self.transformer(self.patches((images_BCHW + 1) / 2))

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """Same patches, hence the same downsampling; two blocks of 32 channels."""
        return dict(width=32, depth=2, heads=2, mlp_width=None, head_width=16)


@DECODERS.register_module()
class ViTVQGANDecoder(Decoder):
    """Features to images in [-1, 1], the mirror of `ViTVQGANEncoder`, whose arguments it takes.

    Args:
        out_channels: Channels of the image.
    """

    def __init__(
        self,
        patch_size: int = 8,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        mlp_width: int | None = None,
        head_width: int = 64,
        out_channels: int = 3,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        check_sizes('ViTVQGANDecoder', patch_size=patch_size, width=width, depth=depth, heads=heads)
        self.in_channels, self.upsample_factor = width, patch_size
        self.transformer = PositionedBlocks(width, depth, heads, mlp_width, head_width, checkpointing)
        self.pixels = nn.ConvTranspose2d(width, out_channels, patch_size, stride=patch_size)
        self.apply(initialize)

    @property
    def last_layer(self) -> nn.Parameter:
        return cast(nn.Parameter, self.pixels.weight)

    def forward(self, features_BEHW: Tensor, z_q_BDHW: Tensor | None = None) -> Tensor:
        return self.pixels(self.transformer(features_BEHW)) * 2 - 1

    smoke = staticmethod(ViTVQGANEncoder.smoke)


def initialize(module: nn.Module) -> None:
    """Xavier uniform weights, of convolutions as linear maps of their patches; biases of linear maps are zero."""
    if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
        nn.init.xavier_uniform_(module.weight.data.flatten(1))
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
