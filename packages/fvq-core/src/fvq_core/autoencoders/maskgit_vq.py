"""The image encoder and decoder of MaskGIT's tokenizer (Chang et al., 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

from torch import Tensor, nn

from ..autoencoder import Decoder, Encoder
from ..ops.group_norm_silu import apply_group_norm
from ..ops.recomputed_conv import norm_conv
from ..ops.residual_sum import residual_sum
from ..registry import DECODERS, ENCODERS
from ..registry.argument_types import check_sizes
from .layers.levels import blocks_per_level, run_block
from .layers.norm import group_norm
from .layers.resample import Upsample


class MaskGITBlock(nn.Module):
    """(B, in_channels, H, W) to (B, out_channels, H, W), without biases in its convolutions.

    Where the width changes, the 1x1 convolution takes the block's own result, not its input: no path around the block
    there. That is how the original and its ports are written, and what the released weights were trained with.
    """

    def __init__(self, in_channels: int, out_channels: int, norm_groups: int = 32) -> None:
        super().__init__()
        self.norm1 = group_norm(in_channels, norm_groups)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = group_norm(out_channels, norm_groups)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        same = in_channels == out_channels
        self.shortcut = None if same else nn.Conv2d(out_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h, _, x = norm_conv(x, self.norm1, self.conv1)
        h, _, _ = norm_conv(h, self.norm2, self.conv2)
        return residual_sum(x if self.shortcut is None else self.shortcut(h), h, None)


@ENCODERS.register_module()
class MaskGITEncoder(Encoder):
    """Images in [-1, 1] to features; the network itself works on [0, 1]. The defaults are the released 256 px tokenizer.

    Residual blocks and the first convolution have no biases, resolution halves by the mean of 2x2, there is no attention,
    and a 1x1 convolution gives the width of the codes: `Tokenizer(quant_kernel=0)`.

    Args:
        ch: Channels at full resolution.
        ch_mult: Multiple of `ch` at each level; each level but the last halves the resolution.
        num_res_blocks: Residual blocks of each level: one number, or one for each, finest first. The middle has as many as
            the coarsest.
        z_channels: Channels of the output.
        in_channels: Channels of the image.
        norm_groups: Groups of every GroupNorm; must divide every channel count.
        checkpointing: Recompute each block in the backward pass instead of keeping its activations.
    """

    def __init__(
        self,
        ch: int = 128,
        ch_mult: Sequence[int] = (1, 1, 2, 2, 4),
        num_res_blocks: int | Sequence[int] = 2,
        z_channels: int = 256,
        in_channels: int = 3,
        norm_groups: int = 32,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        check_sizes('MaskGITEncoder', ch=ch, ch_mult=ch_mult, z_channels=z_channels, norm_groups=norm_groups)
        self.checkpointing = checkpointing
        self.in_channels, self.out_channels = in_channels, z_channels
        self.downsample_factor = 2 ** (len(ch_mult) - 1)
        counts = blocks_per_level(num_res_blocks, ch_mult)
        self.conv_in = nn.Conv2d(in_channels, ch, 3, padding=1, bias=False)
        self.levels, channels = nn.ModuleList(), ch
        for index, (multiple, count) in enumerate(zip(ch_mult, counts, strict=True)):
            level = blocks(channels, ch * multiple, count, norm_groups)
            channels = ch * multiple if count else channels
            if index < len(ch_mult) - 1:
                level.append(nn.AvgPool2d(2))
            self.levels.append(level)
        self.mid = blocks(channels, channels, counts[-1], norm_groups)
        self.norm_out = group_norm(channels, norm_groups)
        self.conv_out = nn.Conv2d(channels, z_channels, 1)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        h = self.conv_in((images_BCHW + 1) / 2)
        for stage in (*self.levels, self.mid):
            h = run(stage, h, self.checkpointing)
        return self.conv_out(apply_group_norm(h, self.norm_out, silu=True))

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """Same levels, hence the same downsampling; 16 channels, also of the output, which is the code, and one block."""
        return dict(ch=16, num_res_blocks=1, z_channels=16, norm_groups=8)


@DECODERS.register_module()
class MaskGITDecoder(Decoder):
    """Features to images in [-1, 1], the mirror of `MaskGITEncoder`, whose arguments it takes.

    Args:
        out_channels: Channels of the image.
    """

    def __init__(
        self,
        ch: int = 128,
        ch_mult: Sequence[int] = (1, 1, 2, 2, 4),
        num_res_blocks: int | Sequence[int] = 2,
        z_channels: int = 256,
        out_channels: int = 3,
        norm_groups: int = 32,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        check_sizes('MaskGITDecoder', ch=ch, ch_mult=ch_mult, z_channels=z_channels, norm_groups=norm_groups)
        self.checkpointing = checkpointing
        self.in_channels = z_channels
        self.upsample_factor = 2 ** (len(ch_mult) - 1)
        counts = blocks_per_level(num_res_blocks, ch_mult)
        channels = ch * ch_mult[-1]
        self.conv_in = nn.Conv2d(z_channels, channels, 3, padding=1)
        self.mid = blocks(channels, channels, counts[-1], norm_groups)
        self.levels = nn.ModuleList()
        for index, (multiple, count) in enumerate(zip(reversed(ch_mult), reversed(counts), strict=True)):
            level = blocks(channels, ch * multiple, count, norm_groups)
            channels = ch * multiple if count else channels
            if index < len(ch_mult) - 1:
                level.append(Upsample(channels))
            self.levels.append(level)
        self.norm_out = group_norm(channels, norm_groups)
        self.conv_out = nn.Conv2d(channels, out_channels, 3, padding=1)

    @property
    def last_layer(self) -> nn.Parameter:
        return cast(nn.Parameter, self.conv_out.weight)

    def forward(self, features_BEHW: Tensor, z_q_BDHW: Tensor | None = None) -> Tensor:
        h = run(self.mid, self.conv_in(features_BEHW), self.checkpointing)
        for level in self.levels:
            h = run(level, h, self.checkpointing)
        return self.conv_out(apply_group_norm(h, self.norm_out, silu=True)) * 2 - 1

    smoke = staticmethod(MaskGITEncoder.smoke)


def blocks(in_channels: int, out_channels: int, count: int, norm_groups: int) -> nn.ModuleList:
    """`count` residual blocks; the first changes the channels."""
    channels = [in_channels, *[out_channels] * count]
    return nn.ModuleList(MaskGITBlock(before, after, norm_groups) for before, after in pairwise(channels))


def run(stage: nn.Module, h: Tensor, checkpointing: bool) -> Tensor:
    """The blocks of a stage in turn; with checkpointing, only the residual ones."""
    for block in stage.children():
        h = run_block(block, h, checkpointing and isinstance(block, MaskGITBlock))
    return h
