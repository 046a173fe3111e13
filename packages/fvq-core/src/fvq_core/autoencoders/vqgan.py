"""The convolutional encoder and decoder of VQGAN (Esser et al., 2021); by default in LlamaGen's form."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

from torch import Tensor, nn

from ..autoencoder import Decoder, Encoder
from ..errors import UserError
from ..ops.recomputed_conv import norm_conv
from ..registry import DECODERS, ENCODERS
from ..registry.argument_types import check_sizes
from .layers.attention_block import AttentionBlock
from .layers.levels import blocks_per_level, run_block
from .layers.norm import group_norm
from .layers.resample import Downsample, Upsample
from .layers.resnet_block import ResnetBlock


@ENCODERS.register_module()
class VQGANEncoder(Encoder):
    """Images to features.

    VQ-16 is `ch_mult=(1, 1, 2, 2, 4)`, VQ-8 is `(1, 2, 2, 4)`; the 4-ResBlock variant of Open-MAGVIT2 and IBQ is
    `num_res_blocks=4`.

    Args:
        ch: Channels at full resolution.
        ch_mult: Multiple of `ch` at each level; each level but the last halves the resolution.
        num_res_blocks: Residual blocks per level: one number, or one for each level, finest first.
        z_channels: Channels of the output.
        in_channels: Channels of the image.
        attention: Whether the middle and each block of the coarsest level have self-attention; or a list of the levels that
            have it besides the middle, finest 0 (taming-transformers' `attn_resolutions`).
        dropout: Dropout inside the residual blocks.
        norm_groups: Groups of every GroupNorm; must divide every channel count.
        checkpointing: Keep only the inputs of the residual and attention blocks, and recompute each block in the backward
            pass: less memory, about a third more time, the same gradients.
    """

    def __init__(
        self,
        ch: int = 128,
        ch_mult: Sequence[int] = (1, 1, 2, 2, 4),
        num_res_blocks: int | Sequence[int] = 2,
        z_channels: int = 256,
        in_channels: int = 3,
        attention: bool | Sequence[int] = True,
        dropout: float = 0.0,
        norm_groups: int = 32,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        check_sizes('VQGANEncoder', ch=ch, ch_mult=ch_mult, z_channels=z_channels, norm_groups=norm_groups)
        self.checkpointing = checkpointing
        self.out_channels = z_channels
        self.downsample_factor = 2 ** (len(ch_mult) - 1)
        self.in_channels = in_channels
        self.conv_in = nn.Conv2d(in_channels, ch, 3, padding=1)
        channels = ch
        attentive = levels_with_attention(attention, len(ch_mult))
        self.levels: Any = nn.ModuleList()
        for index, (multiple, count) in enumerate(zip(ch_mult, blocks_per_level(num_res_blocks, ch_mult), strict=True)):
            level = make_level(channels, ch * multiple, count, index in attentive, dropout, norm_groups)
            channels = ch * multiple if count else channels
            if index < len(ch_mult) - 1:
                level['downsample'] = Downsample(channels)
            self.levels.append(level)
        self.mid = middle(channels, attention is not False, dropout, norm_groups)
        self.norm_out = group_norm(channels, norm_groups)
        self.conv_out = nn.Conv2d(channels, z_channels, 3, padding=1)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        h = self.conv_in(images_BCHW)
        for level in self.levels:
            h = run_level(level, h, self.checkpointing)
            if 'downsample' in level:
                h = level['downsample'](h)
        h = run_block(self.mid, h, self.checkpointing)
        return norm_conv(h, self.norm_out, self.conv_out, defer_bias=False)[0]

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """Same levels, hence the same downsampling; 16 channels, one block."""
        return dict(ch=16, num_res_blocks=1, z_channels=16, norm_groups=8)


@DECODERS.register_module()
class VQGANDecoder(Decoder):
    """Features to images; arguments that are not listed are those of `VQGANEncoder`.

    Args:
        ch_mult: Multiple of `ch` at each level, finest first, as in the encoder; the levels run in reverse.
        extra_blocks: How many more blocks each level has than the encoder's; 1 in VQGAN.
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
        attentive = levels_with_attention(attention, len(ch_mult))
        self.levels: Any = nn.ModuleList()
        counts = blocks_per_level(num_res_blocks, ch_mult)
        for index, (multiple, count) in enumerate(zip(reversed(ch_mult), reversed(counts), strict=True)):
            count, attends = count + extra_blocks, len(ch_mult) - 1 - index in attentive
            level = make_level(channels, ch * multiple, count, attends, dropout, norm_groups)
            channels = ch * multiple if count else channels
            if index < len(ch_mult) - 1:
                level['upsample'] = Upsample(channels)
            self.levels.append(level)
        self.norm_out = group_norm(channels, norm_groups)
        self.conv_out = nn.Conv2d(channels, out_channels, 3, padding=1)

    @property
    def last_layer(self) -> nn.Parameter:
        return cast(nn.Parameter, self.conv_out.weight)

    def forward(self, features_BEHW: Tensor, z_q_BDHW: Tensor | None = None) -> Tensor:
        h = run_block(self.mid, self.conv_in(features_BEHW), self.checkpointing)
        for level in self.levels:
            h = run_level(level, h, self.checkpointing)
            if 'upsample' in level:
                h = level['upsample'](h)
        return norm_conv(h, self.norm_out, self.conv_out, defer_bias=False)[0]

    smoke = staticmethod(VQGANEncoder.smoke)


def levels_with_attention(attention: bool | Sequence[int], levels: int) -> set[int]:
    """The levels whose blocks are followed by attention, finest 0; raises if one does not exist."""
    if isinstance(attention, bool):
        return {levels - 1} if attention else set()
    if not set(attention) <= set(range(levels)):
        raise UserError(f'attention {list(attention)} names levels that do not exist; there are {levels}, finest 0.')
    return set(attention)


def make_level(
    in_channels: int, out_channels: int, count: int, attention: bool, dropout: float, norm_groups: int
) -> nn.ModuleDict:
    """`count` residual blocks, each followed by attention if the level has any."""
    blocks, mixers = nn.ModuleList(), nn.ModuleList()
    for before, after in pairwise([in_channels, *[out_channels] * count]):
        blocks.append(ResnetBlock(before, after, dropout=dropout, norm_groups=norm_groups))
        if attention:
            mixers.append(AttentionBlock(after, norm_groups=norm_groups))
    return nn.ModuleDict({'blocks': blocks, 'attention': mixers})


def middle(channels: int, attention: bool, dropout: float, norm_groups: int) -> nn.Sequential:
    """The blocks between levels and output (encoder) or between input and levels (decoder)."""
    block = ResnetBlock(channels, channels, dropout=dropout, norm_groups=norm_groups)
    mixer = AttentionBlock(channels, norm_groups=norm_groups) if attention else nn.Identity()
    return nn.Sequential(block, mixer, ResnetBlock(channels, channels, dropout=dropout, norm_groups=norm_groups))


def run_level(level: Any, h: Tensor, checkpointing: bool) -> Tensor:
    """The residual blocks of one level, each followed by its attention if the level has any."""
    for index, block in enumerate(level['blocks']):
        h = run_block(block, h, checkpointing)
        if len(level['attention']):
            h = run_block(level['attention'][index], h, checkpointing)
    return h
