"""The decoder of MoVQ (Zheng et al., 2022), whose norms are modulated by the codes, as in Kandinsky's MoVQGAN."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..autoencoder import Decoder
from ..errors import UserError
from ..ops.group_norm_silu import apply_group_norm
from ..registry import DECODERS
from ..registry.argument_types import check_sizes
from .layers.levels import blocks_per_level
from .layers.norm import group_norm
from .layers.resample import Upsample
from .vqgan import levels_with_attention


class SpatialNorm(nn.Module):
    """GN(x) * scale(z_q) + shift(z_q): two 1x1 convolutions of the quantized latent, resized to x by nearest neighbour."""

    def __init__(self, channels: int, latent_channels: int, norm_groups: int = 32) -> None:
        super().__init__()
        self.norm = group_norm(channels, norm_groups)
        self.scale = nn.Conv2d(latent_channels, channels, 1)
        self.shift = nn.Conv2d(latent_channels, channels, 1)

    def forward(self, x: Tensor, z_q_BDHW: Tensor) -> Tensor:
        """Features (B, C, H', W') and the quantized latent (B, D, H, W) to features."""
        # A 1x1 convolution and a copy of pixels commute: at the latent's size, it is up to 256 times cheaper.
        scale, shift = (F.interpolate(conv(z_q_BDHW), x.shape[-2:]) for conv in (self.scale, self.shift))
        return apply_group_norm(x, self.norm) * scale + shift


class SpatialResnetBlock(nn.Module):
    """VQGAN's residual block with `SpatialNorm`."""

    def __init__(
        self, in_channels: int, out_channels: int, latent_channels: int, dropout: float, norm_groups: int
    ) -> None:
        super().__init__()
        self.norm1 = SpatialNorm(in_channels, latent_channels, norm_groups)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = SpatialNorm(out_channels, latent_channels, norm_groups)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        same = in_channels == out_channels
        self.shortcut = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor, z_q_BDHW: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x, z_q_BDHW)))
        h = self.conv2(self.dropout(F.silu(self.norm2(h, z_q_BDHW))))
        return self.shortcut(x) + h


class SpatialAttentionBlock(nn.Module):
    """VQGAN's self-attention over all positions with `SpatialNorm`."""

    def __init__(self, channels: int, latent_channels: int, norm_groups: int) -> None:
        super().__init__()
        self.norm = SpatialNorm(channels, latent_channels, norm_groups)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, z_q_BDHW: Tensor) -> Tensor:
        B, C, H, W = x.shape
        h = self.norm(x, z_q_BDHW)
        q, k, v = (conv(h).flatten(2).transpose(1, 2) for conv in (self.q, self.k, self.v))
        h = F.scaled_dot_product_attention(q, k, v)
        return x + self.proj_out(h.transpose(1, 2).reshape(B, C, H, W))


@DECODERS.register_module()
class MoVQDecoder(Decoder):
    """VQGAN's decoder with every norm modulated by the quantized latent before `post_quant`; its encoder is VQGAN's.

    The defaults are Kandinsky's 67 million parameters for encoder and decoder; that of 270 million has `ch=256`, that of 102
    million `num_res_blocks=4`. Arguments that are not listed are those of `VQGANDecoder`.

    Args:
        latent_channels: D, channels of the quantized latent; the autoencoder fills it in.
        z_channels: Channels of the features, that is behind `post_quant`.
        attention: The levels with attention besides the middle, finest 0; True for the coarsest.
    """

    def __init__(
        self,
        latent_channels: int = 4,
        ch: int = 128,
        ch_mult: Sequence[int] = (1, 2, 2, 4),
        num_res_blocks: int | Sequence[int] = 2,
        extra_blocks: int = 1,
        z_channels: int = 4,
        out_channels: int = 3,
        attention: bool | Sequence[int] = True,
        dropout: float = 0.0,
        norm_groups: int = 32,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        sizes = dict(latent_channels=latent_channels, ch=ch, ch_mult=ch_mult, z_channels=z_channels)
        check_sizes('MoVQDecoder', **sizes, norm_groups=norm_groups)
        if extra_blocks < 0:
            raise UserError(f'MoVQDecoder: extra_blocks must be 0 or more, got {extra_blocks}.')
        self.checkpointing, self.latent_channels, self.in_channels = checkpointing, latent_channels, z_channels
        self.upsample_factor = 2 ** (len(ch_mult) - 1)
        channels = ch * ch_mult[-1]

        def block(before: int, after: int) -> nn.Module:
            return SpatialResnetBlock(before, after, latent_channels, dropout, norm_groups)

        def mixer(channels: int) -> nn.Module:
            return SpatialAttentionBlock(channels, latent_channels, norm_groups)

        self.conv_in = nn.Conv2d(z_channels, channels, 3, padding=1)
        middle = [block(channels, channels), mixer(channels), block(channels, channels)]
        self.mid = nn.ModuleList(middle if attention is not False else [middle[0], nn.Identity(), middle[2]])
        attentive, counts = levels_with_attention(attention, len(ch_mult)), blocks_per_level(num_res_blocks, ch_mult)
        self.levels: Any = nn.ModuleList()
        for index, (multiple, count) in enumerate(zip(reversed(ch_mult), reversed(counts), strict=True)):
            widths = [channels, *[ch * multiple] * (count + extra_blocks)]
            blocks = nn.ModuleList(block(before, after) for before, after in pairwise(widths))
            mixers = nn.ModuleList()
            if len(ch_mult) - 1 - index in attentive:
                mixers.extend(mixer(channels) for channels in widths[1:])
            level, channels = nn.ModuleDict({'blocks': blocks, 'attention': mixers}), widths[-1]
            if index < len(ch_mult) - 1:
                level['upsample'] = Upsample(channels)
            self.levels.append(level)
        self.norm_out = SpatialNorm(channels, latent_channels, norm_groups)
        self.conv_out = nn.Conv2d(channels, out_channels, 3, padding=1)

    @property
    def last_layer(self) -> nn.Parameter:
        return cast(nn.Parameter, self.conv_out.weight)

    def forward(self, features_BEHW: Tensor, z_q_BDHW: Tensor | None = None) -> Tensor:
        """See `Decoder`; raises without the quantized latent, or if it has another width."""
        if z_q_BDHW is None or z_q_BDHW.shape[1] != self.latent_channels:
            given = 'none' if z_q_BDHW is None else f'{z_q_BDHW.shape[1]} channels'
            raise UserError(
                f'MoVQDecoder: expected a quantized latent of {self.latent_channels} channels, got {given}; set '
                "latent_channels to the quantizer's code_dim."
            )
        h = self.run(self.mid, self.conv_in(features_BEHW), z_q_BDHW)
        for level in self.levels:
            mixers = [*level['attention']] or [None] * len(level['blocks'])
            for block, mixer in zip(level['blocks'], mixers, strict=True):
                h = self.run([block] if mixer is None else [block, mixer], h, z_q_BDHW)
            if 'upsample' in level:
                h = level['upsample'](h)
        return self.conv_out(F.silu(self.norm_out(h, z_q_BDHW)))

    def run(self, blocks: Any, h: Tensor, z_q_BDHW: Tensor) -> Tensor:
        for block in blocks:
            if isinstance(block, nn.Identity):
                continue
            if self.checkpointing and torch.is_grad_enabled():
                h = cast(Tensor, checkpoint(block, h, z_q_BDHW, use_reentrant=False))
            else:
                h = block(h, z_q_BDHW)
        return h

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """Same levels, hence the same upsampling; 16 channels, one block."""
        return dict(ch=16, num_res_blocks=1, z_channels=16, norm_groups=8)
