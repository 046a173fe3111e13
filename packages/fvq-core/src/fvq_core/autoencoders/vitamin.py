"""UniTok's encoder and decoder (Ma et al., 2025): ViTamin (Chen et al., 2024), convolutions and then a transformer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any, cast

import torch.nn.functional as F
from torch import Tensor, nn

from ..autoencoder import Decoder, Encoder
from ..errors import UserError
from ..registry import DECODERS, ENCODERS
from ..registry.argument_types import check_sizes
from .layers.attention_projection import GeGLU, projection
from .layers.levels import run_block
from .layers.mbconv_block import ChannelNorm, MBConvBlock, Resample
from .layers.resample import Upsample
from .layers.tokens import to_grid, to_tokens
from .layers.vit_block import ViTBlock


@ENCODERS.register_module()
class ViTaminEncoder(Encoder):
    """Images in [-1, 1] to features. The defaults are ViTamin-L with UniTok's attention projection to 64 channels.

    A strided stem, stages of inverted bottlenecks that each halve the resolution, a strided convolution, transformer blocks
    without positions, a norm, and the projection; f is 4 times 2 for each stage. With `Tokenizer(quant_kernel=0)`; UniTok's
    linear projection is `z_channels=None` and `quant_kernel=1`.

    Args:
        conv_widths: Channels of each stage of convolutions, finest first.
        conv_depths: Blocks of each stage.
        width: Channels of every token.
        depth: Number of transformer blocks.
        heads: Attention heads of a transformer block.
        z_channels: Channels of the output; None for `width`, without a projection.
        projection_heads: Heads of the projection; `width / z_channels` by default.
        causal: Whether a token of the projection sees only itself and those before it: UniTok's first release.
        in_channels: Channels of the image.
        drop_path: Probability that training leaves out a branch of the last transformer block for an image; it grows from
            0 in the first. 0.1 in UniTok.
        checkpointing: Recompute each block in the backward pass instead of keeping its activations.
    """

    def __init__(
        self,
        conv_widths: Sequence[int] = (160, 320),
        conv_depths: Sequence[int] = (2, 4),
        width: int = 1024,
        depth: int = 31,
        heads: int = 16,
        z_channels: int | None = 64,
        projection_heads: int | None = None,
        causal: bool = False,
        in_channels: int = 3,
        drop_path: float = 0.0,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        check_stages('ViTaminEncoder', conv_widths, conv_depths, width, depth, heads)
        self.checkpointing, self.in_channels, self.out_channels = checkpointing, in_channels, z_channels or width
        self.downsample_factor = 4 * 2 ** len(conv_widths)
        stem = conv_widths[0]
        self.conv_in = nn.Conv2d(in_channels, stem, 3, stride=2, padding=1)
        self.norm_in = ChannelNorm(stem)
        self.conv_stem = nn.Conv2d(stem, stem, 3, padding=1)
        self.stages = conv_stages([stem, *conv_widths], conv_depths, 'down')
        self.norm_pool = ChannelNorm(conv_widths[-1])
        self.pool = nn.Conv2d(conv_widths[-1], width, 3, stride=2, padding=1)
        self.blocks = transformer_blocks(width, depth, heads, drop_path)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.projection = projection(width, z_channels, projection_heads, causal) if z_channels else nn.Identity()
        self.apply(initialize)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        h = self.conv_stem(F.gelu(self.norm_in(self.conv_in(images_BCHW))))
        h = run(self.stages, h, self.checkpointing)
        h = self.pool(self.norm_pool(h))
        h_BTC = run(self.blocks, to_tokens(h), self.checkpointing)
        return to_grid(self.projection(self.norm(h_BTC)), h)

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """As many stages, hence the same downsampling, of one block of 8 channels; two transformer blocks of 128."""
        stages = len(cfg.get('conv_widths', (160, 320)))
        conv = dict(conv_widths=[8] * stages, conv_depths=[1] * stages)
        return dict(conv, width=128, depth=2, heads=2, projection_heads=None)


@DECODERS.register_module()
class ViTaminDecoder(Decoder):
    """Features to images in [-1, 1]: the mirror of `ViTaminEncoder`, whose arguments it takes.

    Transformer blocks behind the projection, then stages of inverted bottlenecks, doubling by nearest neighbours.

    Args:
        out_channels: Channels of the image.
    """

    def __init__(
        self,
        conv_widths: Sequence[int] = (160, 320),
        conv_depths: Sequence[int] = (2, 4),
        width: int = 1024,
        depth: int = 31,
        heads: int = 16,
        z_channels: int | None = 64,
        projection_heads: int | None = None,
        causal: bool = False,
        out_channels: int = 3,
        drop_path: float = 0.0,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        check_stages('ViTaminDecoder', conv_widths, conv_depths, width, depth, heads)
        self.checkpointing, self.in_channels = checkpointing, z_channels or width
        self.upsample_factor = 4 * 2 ** len(conv_widths)
        widths = [*conv_widths[::-1]]
        self.projection = projection(z_channels, width, projection_heads, causal) if z_channels else nn.Identity()
        self.blocks = transformer_blocks(width, depth, heads, drop_path)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.upsample = Upsample(width, widths[0])
        self.stages = conv_stages([widths[0], *widths], conv_depths[::-1], 'up')
        self.upsample_out = Upsample(widths[-1])
        self.norm_out = ChannelNorm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], out_channels, 3, padding=1)
        self.apply(initialize)

    @property
    def last_layer(self) -> nn.Parameter:
        return cast(nn.Parameter, self.conv_out.weight)

    def forward(self, features_BEHW: Tensor, z_q_BDHW: Tensor | None = None) -> Tensor:
        h_BTC = run(self.blocks, self.projection(to_tokens(features_BEHW)), self.checkpointing)
        h = self.upsample(to_grid(self.norm(h_BTC), features_BEHW))
        h = self.upsample_out(run(self.stages, h, self.checkpointing))
        return self.conv_out(F.gelu(self.norm_out(h)))

    smoke = staticmethod(ViTaminEncoder.smoke)


def check_stages(
    owner: str, conv_widths: Sequence[int], conv_depths: Sequence[int], width: int, depth: int, heads: int
) -> None:
    """Raise if a size is below 1, or if the stages' channels and counts of blocks are not as many."""
    check_sizes(owner, conv_widths=conv_widths, conv_depths=conv_depths, width=width, depth=depth, heads=heads)
    if len(conv_widths) != len(conv_depths):
        raise UserError(
            f'{owner}: conv_widths {list(conv_widths)} and conv_depths {list(conv_depths)} give each stage one of both.'
        )


def conv_stages(widths: Sequence[int], depths: Sequence[int], resample: Resample) -> nn.ModuleList:
    """Blocks in the order they run, the first of each stage resampling; `widths` begins with that of the input."""
    blocks = nn.ModuleList()
    for (before, after), count in zip(pairwise(widths), depths, strict=True):
        blocks.append(MBConvBlock(before, after, resample))
        blocks.extend(MBConvBlock(after, after) for _ in range(count - 1))
    return blocks


def transformer_blocks(width: int, depth: int, heads: int, drop_path: float) -> nn.ModuleList:
    block = partial(ViTBlock, width, heads, 2.0, mlp=GeGLU, eps=1e-6)
    return nn.ModuleList(block(drop_path=drop_path * index / max(1, depth - 1)) for index in range(depth))


def run(blocks: nn.ModuleList, h: Tensor, checkpointing: bool) -> Tensor:
    for block in blocks:
        h = run_block(block, h, checkpointing)
    return h


def initialize(module: nn.Module) -> None:
    """Linear maps truncated normal of 0.02, convolutions Xavier normal at half its gain, biases zero."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
    elif isinstance(module, nn.Conv2d):
        nn.init.xavier_normal_(module.weight, gain=0.5)
    if isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None:
        nn.init.zeros_(module.bias)
