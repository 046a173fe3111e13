"""The image encoder of Open-MAGVIT2 (Luo et al., 2024): VQGAN's without attention, with a deeper middle."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from ..layers.norm import group_norm
from ..layers.resnet_block import ResnetBlock
from ..registry import ENCODERS
from .vqgan_encoder import blocks_of_levels, run_block


@ENCODERS.register_module()
class MAGVIT2Encoder(nn.Module):
    """Images to features; the released 256 px tokenizer has the defaults and `z_channels=18`.

    What differs from `VQGANEncoder`: no attention; as many middle blocks as the coarsest level has; no bias in the first
    convolution and in the residual blocks; stride-2 convolutions padded on all sides; a 1x1 convolution at the end.
    The release has no convolution between encoder and LFQ: `Tokenizer(quant_kernel=0)`.

    Args:
        ch: Channels at full resolution.
        ch_mult: Multiple of `ch` at each level; each level but the last halves the resolution.
        num_res_blocks: Residual blocks of each level; one number, or one for each level, finest first.
        z_channels: Channels of the output.
        in_channels: Channels of the image.
        norm_groups: Groups of every GroupNorm; must divide every channel count.
        checkpointing: As in `VQGANEncoder`.

    Attributes:
        out_channels: `z_channels`.
        downsample_factor: f = 2^(levels - 1).
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
        self.checkpointing = checkpointing
        self.out_channels = z_channels
        self.downsample_factor = 2 ** (len(ch_mult) - 1)
        self.in_channels = in_channels
        self.conv_in = nn.Conv2d(in_channels, ch, 3, padding=1, bias=False)
        counts = blocks_of_levels(num_res_blocks, ch_mult)
        channels, self.levels = ch, nn.ModuleList()
        for index, (multiple, count) in enumerate(zip(ch_mult, counts, strict=True)):
            level = plain_blocks(channels, ch * multiple, count, norm_groups)
            channels = ch * multiple if count else channels
            if index < len(ch_mult) - 1:
                level.append(nn.Conv2d(channels, channels, 3, stride=2, padding=1))
            self.levels.append(level)
        self.mid = plain_blocks(channels, channels, counts[-1], norm_groups)
        self.norm_out = group_norm(channels, norm_groups)
        self.conv_out = nn.Conv2d(channels, z_channels, 1)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        h = self.conv_in(images_BCHW)
        for stage in (*self.levels, self.mid):
            h = run_blocks(stage, h, self.checkpointing)
        return self.conv_out(F.silu(self.norm_out(h)))

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """Same levels, hence the same downsampling, and same output, which is the code; 16 channels, one block."""
        return dict(ch=16, num_res_blocks=1, norm_groups=8)


def plain_blocks(in_channels: int, out_channels: int, count: int, norm_groups: int) -> nn.ModuleList:
    """`count` residual blocks without biases, the first of which changes the channels."""
    channels = [in_channels, *[out_channels] * count]
    return nn.ModuleList(
        ResnetBlock(before, after, norm_groups=norm_groups, bias=False) for before, after in pairwise(channels)
    )


def run_blocks(blocks: nn.Module, h: Tensor, checkpointing: bool) -> Tensor:
    """Blocks in turn, the residual ones checkpointed where that is asked for."""
    for block in blocks.children():
        h = run_block(block, h, checkpointing and isinstance(block, ResnetBlock))
    return h
