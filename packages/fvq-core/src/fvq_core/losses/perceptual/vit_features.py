"""Features of a frozen vision transformer of timm: DINO, DINOv2, CLIP, SigLIP or any other, by its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...errors import UserError
from .timm_network import TimmNetwork, build_network

# Options that make a transformer of any name small, for smoke runs with random weights.
SMALL = dict(embed_dim=32, depth=2, num_heads=2)
NOT_FEATURES = ('head.', 'attn_pool.', 'fc_norm.')  # what files hold behind the last norm


class ViTFeatures(TimmNetwork):
    """Images (B, 3, H, W) in [-1, 1], with sides that the patches divide, to the features of their patches.

    Images are normalised as the network was trained; positions are resized to the grid of their patches.

    Args:
        model: timm's name, such as `vit_small_patch16_224.dino`, `vit_base_patch14_dinov2.lvd142m`,
            `vit_base_patch16_clip_224.openai` or `vit_base_patch16_siglip_256.webli`.
        depths: Blocks, from 0, behind which features are taken; -1 is in front of the first. By
            default the last.
        weights: File of the network's weights in the layout of timm or of its publisher, of which only tensors are read;
            `'pretrained'` takes timm's own, from its cache or downloaded. Nothing is downloaded otherwise.
        random: Random weights from a fixed seed instead of trained ones, for tests and timings.
        options: More arguments of `timm.create_model`.

    Raises:
        UserError: An unknown network or one that is no plain vision transformer, options that contradict each other, depths
            that it lacks, or weights that do not fit.
        MissingWeightsError: No weights. On the meta device none are needed.
    """

    def __init__(
        self,
        model: str,
        depths: Sequence[int] | None = None,
        weights: str | Path | None = None,
        random: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.net: Any = self.create(build, model, weights, random, options)
        count = len(self.net.blocks)
        depths = (count - 1,) if depths is None else depths
        if not depths or not all(-1 <= depth < count for depth in depths):
            raise UserError(f'ViTFeatures: depths of {model} lie in [-1, {count}), got {list(depths)}.')
        self.depths = tuple(depths)
        self.out_channels, self.patch_size = self.net.embed_dim, self.net.patch_embed.patch_size[0]
        self.image_size: int = self.net.patch_embed.img_size[0]
        self.fill(model, weights, random)

    def own_weights(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        from timm.models.vision_transformer import checkpoint_filter_fn

        return {k: v for k, v in checkpoint_filter_fn(state, self.net).items() if not k.startswith(NOT_FEATURES)}

    def tokens(self, images_BCHW: Tensor) -> list[Tensor]:
        """(B, prefix + h w, width) for each of `depths`, class and register tokens first; behind the last block normalised."""
        net = self.network()
        x_BTC = net.patch_embed(self.normalized(images_BCHW))
        x_BTC = net.norm_pre(net._pos_embed(x_BTC))
        found = {-1: x_BTC}
        for depth, block in enumerate(net.blocks[: max(self.depths) + 1]):
            x_BTC = found[depth] = block(x_BTC)
        return [found[depth] for depth in self.depths]

    def forward(self, images_BCHW: Tensor) -> list[Tensor]:
        """(B, h w, width) for each of `depths`: each patch, plus the class token if there is one."""
        prefix = self.net.num_prefix_tokens
        return [
            x[:, prefix:] + x[:, :1] if self.net.has_class_token else x[:, prefix:] for x in self.tokens(images_BCHW)
        ]

    def patches(self, images_BCHW: Tensor) -> Tensor:
        """(B, h w, width): the patches behind the last of `depths`, normalised if that is the last block."""
        (*_, x_BTC) = self.tokens(images_BCHW)
        if self.depths[-1] == len(self.net.blocks) - 1:
            x_BTC = self.network().norm(x_BTC)
        return x_BTC[:, self.net.num_prefix_tokens :]


def build(model: str, device: torch.device, pretrained: bool, options: Mapping[str, Any]) -> Any:
    """The network without what is behind its last norm."""
    fixed = dict(global_pool='', dynamic_img_size=True)
    net = build_network('ViTFeatures', 'plain vision transformer', model, device, pretrained, {**fixed, **options})
    from timm.models import VisionTransformer

    if not isinstance(net, VisionTransformer):
        raise UserError(f'ViTFeatures: {model} is a {type(net).__name__}, not a plain vision transformer.')
    return net
