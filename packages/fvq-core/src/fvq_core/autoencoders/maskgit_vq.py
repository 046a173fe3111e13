"""The image encoder and decoder of MaskGIT's tokenizer (Chang et al., 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, cast

from torch import Tensor, nn

from ..autoencoder import Decoder, Encoder
from ..ops.group_norm_silu import apply_group_norm
from ..ops.recomputed_conv import norm_conv
from ..ops.residual_sum import residual_sum
from ..registry import DECODERS, ENCODERS
from ..registry.argument_types import check_sizes
from .layers.levels import blocks_per_level, residual_blocks, residual_levels, run_blocks
from .layers.norm import group_norm
from .layers.resample import Upsample
from .layers.resnet_block import ResnetBlock


class MaskGITBlock(ResnetBlock):
    """(B, in_channels, H, W) to (B, out_channels, H, W), without biases in its convolutions.

    Where the width changes, the 1x1 convolution takes the block's own result, not its input: no path around the block
    there. That is how the original and its ports are written, and what the released weights were trained with.
    """

    def __init__(self, in_channels: int, out_channels: int, norm_groups: int = 32) -> None:
        super().__init__(in_channels, out_channels, norm_groups=norm_groups, bias=False)
        if in_channels != out_channels:
            self.shortcut = nn.Conv2d(out_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h, _, x = norm_conv(x, self.norm1, self.conv1)
        h, _, _ = norm_conv(h, self.norm2, self.conv2)
        return residual_sum(self.shortcut(x if x.shape == h.shape else h), h, None)


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
        block, widths = partial(MaskGITBlock, norm_groups=norm_groups), [ch * multiple for multiple in ch_mult]
        self.levels, channels = residual_levels(ch, widths, counts, block, lambda channels: nn.AvgPool2d(2))
        self.mid = residual_blocks(channels, channels, counts[-1], block)
        self.norm_out = group_norm(channels, norm_groups)
        self.conv_out = nn.Conv2d(channels, z_channels, 1)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        h = self.conv_in((images_BCHW + 1) / 2)
        for stage in (*self.levels, self.mid):
            h = run_blocks(stage, h, self.checkpointing)
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
        counts, block = blocks_per_level(num_res_blocks, ch_mult), partial(MaskGITBlock, norm_groups=norm_groups)
        widths = [ch * multiple for multiple in reversed(ch_mult)]
        self.conv_in = nn.Conv2d(z_channels, widths[0], 3, padding=1)
        self.mid = residual_blocks(widths[0], widths[0], counts[-1], block)
        self.levels, channels = residual_levels(widths[0], widths, counts[::-1], block, Upsample)
        self.norm_out = group_norm(channels, norm_groups)
        self.conv_out = nn.Conv2d(channels, out_channels, 3, padding=1)

    @property
    def last_layer(self) -> nn.Parameter:
        return cast(nn.Parameter, self.conv_out.weight)

    def forward(self, features_BEHW: Tensor, z_q_BDHW: Tensor | None = None) -> Tensor:
        h = run_blocks(self.mid, self.conv_in(features_BEHW), self.checkpointing)
        for level in self.levels:
            h = run_blocks(level, h, self.checkpointing)
        return self.conv_out(apply_group_norm(h, self.norm_out, silu=True)) * 2 - 1

    smoke = staticmethod(MaskGITEncoder.smoke)
