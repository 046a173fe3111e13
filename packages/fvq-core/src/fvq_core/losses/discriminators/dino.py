"""Heads on the features of a frozen vision transformer (StyleGAN-T, Sauer et al., 2023), as in UniTok, VAR and GigaTok."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from ...autoencoders.layers.norm import group_norm
from ...errors import UserError, nearest_hint
from ...registry import DISCRIMINATORS
from ..perceptual import DINOv2Features, FrozenNetwork, ViTFeatures, WithFrozenNetwork
from ..perceptual.timm_network import network_name
from ..perceptual.vit_features import SMALL
from .local_batch_norm import LocalBatchNorm

NORMS = ('group', 'batch')


@DISCRIMINATORS.register_module()
class DINODiscriminator(WithFrozenNetwork):
    """Images (B, 3, H, W) in [-1, 1] to logits (B, 1, depths, L), one for each patch and depth.

    The default is UniTok's, on DINOv2 ViT-S/14: sides become multiples of 14, and no layer mixes images. VAR's
    authors wrote the one that XQ-GAN and GigaTok have, on DINO ViT-S/16 at 224 pixels:

        dict(type='DINODiscriminator', model='vit_small_patch16_224.dino', depths=(-1, 2, 5, 8, 11), image_size=224,
             norm='batch', spectral=True, weights='dino_deitsmall16_pretrain.pth')

    In training images become of that size by a random crop or an area mean, each time one of the two for the whole batch;
    by the mean in eval, and by bicubic interpolation where they are smaller.

    Args:
        depths: Blocks, from 0, whose features get a head each; -1 with `model`: what goes into the first.
        kernel: Width of the convolution of a head, along the patches in reading order; odd.
        channels: Of a head; those of the network by default. A multiple of 32 with group norm.
        weights, random: See `DINOv2Features`, or with `model`: `ViTFeatures`.
        model: Network of timm; DINOv2 ViT-S/14 by default.
        image_size: Side of the square that the network sees; by default the images' own sides, as multiples of its patches.
        norm: Behind the first two convolutions of a head: `'group'`, or `'batch'`, which is `LocalBatchNorm`.
        spectral: Whether each weight of a head is divided by its largest singular value.
        options: See `ViTFeatures`.

    Raises:
        UserError: An even kernel, an unknown norm, `options` without `model`, or images that are smaller than a patch.
    """

    def __init__(
        self,
        depths: Sequence[int] = (0, 2, 5, 8, 11),
        kernel: int = 9,
        channels: int | None = None,
        weights: str | Path | None = None,
        random: bool = False,
        model: str | None = None,
        image_size: int | None = None,
        norm: Literal['group', 'batch'] = 'group',
        spectral: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        if norm not in NORMS:
            raise UserError(f"DINODiscriminator: unknown norm '{norm}'; {nearest_hint(norm, NORMS)}")
        if options and model is None:
            raise UserError('DINODiscriminator: options are those of a network of timm; name it as model.')
        network: FrozenNetwork = (
            DINOv2Features(depths, weights, random)
            if model is None
            else ViTFeatures(model, depths, weights, random, options)
        )
        super().__init__(network, random)
        if kernel < 1 or kernel % 2 == 0:
            raise UserError(f'DINODiscriminator: kernel must be odd, got {kernel}.')
        described: Any = network
        self.patch_size, width = described.patch_size, described.out_channels
        if image_size is not None and (image_size < 1 or image_size % self.patch_size):
            raise UserError(f'DINODiscriminator: image_size must be a multiple of {self.patch_size}, got {image_size}.')
        self.image_size = image_size
        self.heads = nn.ModuleList(Head(width, channels or width, kernel, norm, spectral) for _ in depths)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        features = self.network(self.fit(images_BCHW.float()))
        return torch.stack([head(x_BLC.mT) for head, x_BLC in zip(self.heads, features, strict=True)], 2)

    def fit(self, images_BCHW: Tensor) -> Tensor:
        """Images with sides that the patches divide, or of `image_size`."""
        patch, (height, width) = self.patch_size, images_BCHW.shape[-2:]
        rows, columns = (self.image_size or side - side % patch for side in (height, width))
        if not rows or not columns:
            raise UserError(f'DINODiscriminator: images need sides of {patch} or more, got {height}x{width}.')
        if (rows, columns) == (height, width):
            return images_BCHW
        if height < rows or width < columns:
            return F.interpolate(images_BCHW, (rows, columns), mode='bicubic')
        means = F.interpolate(images_BCHW, (rows, columns), mode='area')
        if not self.training:
            return means
        # Drawn on the device, which nothing then waits for, and a compiled graph stays whole.
        device, draws_3 = images_BCHW.device, torch.rand(3, device=images_BCHW.device)
        down, right = (
            (draw * (spare + 1)).long() + torch.arange(side, device=device)
            for draw, spare, side in zip(draws_3[1:], (height - rows, width - columns), (rows, columns), strict=True)
        )
        crop = images_BCHW.index_select(2, down).index_select(3, right)
        return torch.where(draws_3[0] < 0.5, crop, means)

    @staticmethod
    def frozen_network(cfg: Mapping[str, Any]) -> str:
        """The kind of network of a config, with whose features nothing that it trains should be scored."""
        return network_name(cfg.get('model') or 'dinov2')

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """Random weights, so no file is needed, and two small heads on the first blocks; a small network of timm."""
        small = dict(options=SMALL, image_size=None) if cfg.get('model') else {}
        return dict(random=True, weights=None, depths=[0, 1], channels=32, **small)


class Head(nn.Module):
    """Features (B, width, L) to logits (B, 1, L): a 1x1 convolution, a residual one along the patches, and a 1x1 one."""

    def __init__(
        self, width: int, channels: int, kernel: int, norm: Literal['group', 'batch'] = 'group', spectral: bool = False
    ) -> None:
        super().__init__()
        make_norm = group_norm if norm == 'group' else LocalBatchNorm
        self.conv_in = nn.Conv1d(width, channels, 1)
        self.norm_in = make_norm(channels)
        self.conv = nn.Conv1d(channels, channels, kernel, padding=kernel // 2, padding_mode='circular')
        self.norm = make_norm(channels)
        self.conv_out = nn.Conv1d(channels, 1, 1)
        for conv in (self.conv_in, self.conv, self.conv_out):
            if spectral:
                spectral_norm(conv)  # of torch's own start, as released
                continue
            nn.init.xavier_normal_(conv.weight, gain=0.5)
            nn.init.zeros_(cast(Tensor, conv.bias))

    def forward(self, x_BCL: Tensor) -> Tensor:
        x_BCL = F.leaky_relu(self.norm_in(self.conv_in(x_BCL)), 0.2)
        h_BCL = F.leaky_relu(self.norm(self.conv(x_BCL)), 0.2)
        return self.conv_out((x_BCL + h_BCL) * math.sqrt(0.5))
