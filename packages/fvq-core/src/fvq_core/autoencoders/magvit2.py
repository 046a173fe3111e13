"""The image encoder and decoder of Open-MAGVIT2 (Luo et al., 2024)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

from torch import Tensor, nn

from ..autoencoder import Decoder, Encoder
from ..ops.recomputed_conv import norm_conv
from ..registry import DECODERS, ENCODERS
from ..registry.argument_types import check_sizes
from .layers.adaptive_group_norm import AdaptiveGroupNorm
from .layers.depth_to_space import DepthToSpaceUpsample
from .layers.levels import blocks_per_level, residual_blocks, residual_levels, run_blocks
from .layers.norm import group_norm
from .layers.resnet_block import ResnetBlock


@ENCODERS.register_module()
class MAGVIT2Encoder(Encoder):
    """Images to features; the defaults are the released 256 px tokenizer.

    Unlike `VQGANEncoder` it has no attention, as many middle blocks as the coarsest level, no biases in the first
    convolution and the residual blocks, stride-2 convolutions padded on all sides, and a final 1x1 convolution. The release
    has no convolution between encoder and LFQ: `Tokenizer(quant_kernel=0)`. Arguments are those of `VQGANEncoder`.
    """

    def __init__(
        self,
        ch: int = 128,
        ch_mult: Sequence[int] = (1, 1, 2, 2, 4),
        num_res_blocks: int | Sequence[int] = 4,
        z_channels: int = 18,
        in_channels: int = 3,
        norm_groups: int = 32,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        check_sizes('MAGVIT2Encoder', ch=ch, ch_mult=ch_mult, z_channels=z_channels, norm_groups=norm_groups)
        self.checkpointing = checkpointing
        self.out_channels = z_channels
        self.downsample_factor = 2 ** (len(ch_mult) - 1)
        self.in_channels = in_channels
        self.conv_in = nn.Conv2d(in_channels, ch, 3, padding=1, bias=False)
        counts, block = blocks_per_level(num_res_blocks, ch_mult), plain_block(norm_groups)
        widths = [ch * multiple for multiple in ch_mult]
        self.levels, channels = residual_levels(ch, widths, counts, block, strided_convolution)
        self.mid = residual_blocks(channels, channels, counts[-1], block)
        self.norm_out = group_norm(channels, norm_groups)
        self.conv_out = nn.Conv2d(channels, z_channels, 1)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        h = self.conv_in(images_BCHW)
        for stage in (*self.levels, self.mid):
            h = run_blocks(stage, h, self.checkpointing)
        return norm_conv(h, self.norm_out, self.conv_out, defer_bias=False)[0]

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """16 channels, one block; the same levels (hence downsampling) and output, which is the code."""
        return dict(ch=16, num_res_blocks=1, norm_groups=8)


@DECODERS.register_module()
class AdaptiveGroupNormDecoder(Decoder):
    """Features to images, the mirror of `MAGVIT2Encoder`; the defaults are the released 256 px tokenizer.

    Each level begins with an `AdaptiveGroupNorm` modulated by the decoder's input: with `Tokenizer(quant_kernel=0)`, as
    released, the quantized latent; otherwise that latent after a convolution. GigaTok has it behind a transformer, with
    biases, three blocks a level and two in the middle. Arguments that are not listed are those of `VQGANDecoder`.

    Args:
        mid_blocks: Blocks in the middle; by default as many as in the coarsest level.
        bias: Whether the convolutions of the residual blocks have biases.
    """

    def __init__(
        self,
        ch: int = 128,
        ch_mult: Sequence[int] = (1, 1, 2, 2, 4),
        num_res_blocks: int | Sequence[int] = 4,
        z_channels: int = 18,
        out_channels: int = 3,
        norm_groups: int = 32,
        checkpointing: bool = False,
        mid_blocks: int | None = None,
        bias: bool = False,
    ) -> None:
        super().__init__()
        check_sizes('AdaptiveGroupNormDecoder', ch=ch, ch_mult=ch_mult, z_channels=z_channels, norm_groups=norm_groups)
        self.checkpointing = checkpointing
        self.in_channels = z_channels
        self.upsample_factor = 2 ** (len(ch_mult) - 1)
        counts, block = blocks_per_level(num_res_blocks, ch_mult), plain_block(norm_groups, bias)
        channels = ch * ch_mult[-1]
        self.conv_in = nn.Conv2d(z_channels, channels, 3, padding=1)
        self.mid = residual_blocks(channels, channels, counts[-1] if mid_blocks is None else mid_blocks, block)
        self.adaptive, self.levels = nn.ModuleList(), nn.ModuleList()
        for index, (multiple, count) in enumerate(zip(reversed(ch_mult), reversed(counts), strict=True)):
            self.adaptive.append(AdaptiveGroupNorm(channels, z_channels, norm_groups=norm_groups))
            level = residual_blocks(channels, ch * multiple, count, block)
            channels = ch * multiple if count else channels
            if index < len(ch_mult) - 1:
                level.append(DepthToSpaceUpsample(channels))
            self.levels.append(level)
        self.norm_out = group_norm(channels, norm_groups)
        self.conv_out = nn.Conv2d(channels, out_channels, 3, padding=1)

    @property
    def last_layer(self) -> nn.Parameter:
        return cast(nn.Parameter, self.conv_out.weight)

    def forward(self, features_BEHW: Tensor, z_q_BDHW: Tensor | None = None) -> Tensor:
        h = run_blocks(self.mid, self.conv_in(features_BEHW), self.checkpointing)
        for adaptive, level in zip(self.adaptive, self.levels, strict=True):
            h = run_blocks(level, adaptive(h, features_BEHW), self.checkpointing)
        return norm_conv(h, self.norm_out, self.conv_out, defer_bias=False)[0]

    smoke = staticmethod(MAGVIT2Encoder.smoke)


def plain_block(norm_groups: int, bias: bool = False) -> Callable[[int, int], nn.Module]:
    """Residual blocks, by default without biases."""
    return partial(ResnetBlock, norm_groups=norm_groups, bias=bias)


def strided_convolution(channels: int) -> nn.Module:
    return nn.Conv2d(channels, channels, 3, stride=2, padding=1)
