"""The convolutional decoder of VQGAN (Esser et al., 2021) in LlamaGen's form: the mirror of `VQGANEncoder`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch.nn.functional as F
from torch import Tensor, nn

from ..argument_types import check_sizes
from ..encoders.vqgan_encoder import Level, attentive_levels, blocks_of_levels, middle, run_block, run_level
from ..errors import UserError
from ..layers.attention_block import AttentionBlock
from ..layers.norm import group_norm
from ..layers.resample import Upsample
from ..layers.resnet_block import ResnetBlock
from ..registry import DECODERS


@DECODERS.register_module()
class VQGANDecoder(nn.Module):
    """Features to images.

    Args:
        ch: Channels at full resolution.
        ch_mult: Multiple of `ch` at each level, finest first, as in the encoder; the levels run in reverse.
        num_res_blocks: As in the encoder, finest first.
        extra_blocks: Blocks that each level has beyond the encoder's; 1 in VQGAN.
        z_channels: Channels of the input.
        out_channels: Channels of the image.
        attention: As in the encoder; a list counts levels as `ch_mult` does.
        dropout: Inside the residual blocks.
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
        num_res_blocks: int | Sequence[int] = 2,
        extra_blocks: int = 1,
        z_channels: int = 256,
        out_channels: int = 3,
        attention: bool | Sequence[int] = True,
        dropout: float = 0.0,
        norm_groups: int = 32,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        check_sizes('VQGANDecoder', ch=ch, ch_mult=ch_mult, z_channels=z_channels, norm_groups=norm_groups)
        if extra_blocks < 0:
            raise UserError(f'VQGANDecoder: extra_blocks must be 0 or more, got {extra_blocks}.')
        self.checkpointing = checkpointing
        self.in_channels = z_channels
        self.upsample_factor = 2 ** (len(ch_mult) - 1)
        channels = ch * ch_mult[-1]
        self.conv_in = nn.Conv2d(z_channels, channels, 3, padding=1)
        self.mid = middle(channels, attention is not False, dropout, norm_groups)
        attentive = attentive_levels(attention, len(ch_mult))
        levels = nn.ModuleList()
        counts = blocks_of_levels(num_res_blocks, ch_mult)
        for index, (multiple, count) in enumerate(zip(reversed(ch_mult), reversed(counts), strict=True)):
            blocks, mixers = nn.ModuleList(), nn.ModuleList()
            level = nn.ModuleDict({'blocks': blocks, 'attention': mixers})
            for _ in range(count + extra_blocks):
                blocks.append(ResnetBlock(channels, ch * multiple, dropout=dropout, norm_groups=norm_groups))
                channels = ch * multiple
                if len(ch_mult) - 1 - index in attentive:
                    mixers.append(AttentionBlock(channels, norm_groups=norm_groups))
            if index < len(ch_mult) - 1:
                level['upsample'] = Upsample(channels)
            levels.append(level)
        self.levels = cast(Sequence[Level], levels)
        self.norm_out = group_norm(channels, norm_groups)
        self.conv_out = nn.Conv2d(channels, out_channels, 3, padding=1)

    @property
    def last_layer(self) -> nn.Parameter:
        return cast(nn.Parameter, self.conv_out.weight)

    def forward(self, z_BCHW: Tensor) -> Tensor:
        h = run_block(self.mid, self.conv_in(z_BCHW), self.checkpointing)
        for level in self.levels:
            h = run_level(level, h, self.checkpointing)
            if 'upsample' in level:
                h = level['upsample'](h)
        return self.conv_out(F.silu(self.norm_out(h)))

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """The mirror of the encoder's."""
        return dict(ch=16, num_res_blocks=1, z_channels=16, norm_groups=8)
