"""The image decoder of Open-MAGVIT2 (Luo et al., 2024): the latent modulates every level by adaptive group norm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch.nn.functional as F
from torch import Tensor, nn

from ..encoders.magvit2_encoder import plain_blocks, run_blocks
from ..encoders.vqgan_encoder import blocks_of_levels
from ..layers.adaptive_group_norm import AdaptiveGroupNorm
from ..layers.depth_to_space import DepthToSpaceUpsample
from ..layers.norm import group_norm
from ..registry import DECODERS


@DECODERS.register_module()
class AdaptiveGroupNormDecoder(nn.Module):
    """Features to images, the mirror of `MAGVIT2Encoder`; the released 256 px tokenizer has the defaults.

    Each level begins with an `AdaptiveGroupNorm` of what this decoder is given: with `Tokenizer(quant_kernel=0)`, as in
    the release, that is the quantized latent itself, else it is the output of the convolution behind it.

    Args:
        ch: Channels at full resolution.
        ch_mult: Multiple of `ch` at each level, finest first, as in the encoder; the levels run in reverse.
        num_res_blocks: As in the encoder, finest first; the middle has as many as the coarsest level.
        z_channels: Channels of the input.
        out_channels: Channels of the image.
        norm_groups: Groups of every GroupNorm; must divide every channel count.
        checkpointing: As in the encoder.

    Attributes:
        in_channels: `z_channels`.
        upsample_factor: f = 2^(levels - 1).
        last_layer: The weight of the last convolution, which adaptive adversarial weights look at.
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
    ) -> None:
        super().__init__()
        self.checkpointing = checkpointing
        self.in_channels = z_channels
        self.upsample_factor = 2 ** (len(ch_mult) - 1)
        counts = blocks_of_levels(num_res_blocks, ch_mult)
        channels = ch * ch_mult[-1]
        self.conv_in = nn.Conv2d(z_channels, channels, 3, padding=1)
        self.mid = plain_blocks(channels, channels, counts[-1], norm_groups)
        self.adaptive, self.levels = nn.ModuleList(), nn.ModuleList()
        for index, (multiple, count) in enumerate(zip(reversed(ch_mult), reversed(counts), strict=True)):
            self.adaptive.append(AdaptiveGroupNorm(channels, z_channels, norm_groups=norm_groups))
            level = plain_blocks(channels, ch * multiple, count, norm_groups)
            channels = ch * multiple if count else channels
            if index < len(ch_mult) - 1:
                level.append(DepthToSpaceUpsample(channels))
            self.levels.append(level)
        self.norm_out = group_norm(channels, norm_groups)
        self.conv_out = nn.Conv2d(channels, out_channels, 3, padding=1)

    @property
    def last_layer(self) -> nn.Parameter:
        return cast(nn.Parameter, self.conv_out.weight)

    def forward(self, z_BCHW: Tensor) -> Tensor:
        h = run_blocks(self.mid, self.conv_in(z_BCHW), self.checkpointing)
        for adaptive, level in zip(self.adaptive, self.levels, strict=True):
            h = run_blocks(level, adaptive(h, z_BCHW), self.checkpointing)
        return self.conv_out(F.silu(self.norm_out(h)))

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """The mirror of the encoder's."""
        return dict(ch=16, num_res_blocks=1, norm_groups=8)
