"""Features of a frozen convolutional network of timm, VGG, ResNet, ConvNeXt or any other that gives maps, by its name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...errors import UserError
from .timm_network import TimmNetwork, build_network


class StageFeatures(TimmNetwork):
    """Images (B, 3, H, W) in [-1, 1] to the map of one of a network's stages, as a row of positions.

    Args:
        model: timm's name, such as `vgg16`, `resnet50` or `convnext_tiny`.
        stage: Which of timm's `feature_info`, from 0; -1 is the last. What is behind it is left out.
        weights: File of weights by timm's names, of which only tensors are read, and those behind the stage left aside;
            `'pretrained'` as in `ViTFeatures`.
        random, options: See `ViTFeatures`.

    Attributes:
        out_channels: Channels of the map.
        patch_size: Pixels of an image's side for each position of the map.
        image_size: Side of the images that the network was trained with.

    Raises:
        UserError: An unknown network, a stage that it lacks, or weights that do not fit.
        MissingWeightsError: No weights. On the meta device none are needed.
    """

    def __init__(
        self,
        model: str,
        stage: int = -1,
        weights: str | Path | None = None,
        random: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.net: Any = self.create(build, model, weights, random, options)
        stages = len(self.net.feature_info)
        if not -stages <= stage < stages:
            raise UserError(f'StageFeatures: {model} has the stages 0 to {stages - 1}, got {stage}.')
        self.stage = stage % stages
        described = self.net.feature_info[self.stage]
        self.net.prune_intermediate_layers([self.stage], prune_norm=True)
        self.out_channels: int = described['num_chs']
        self.patch_size: int = described['reduction']
        self.image_size: int = self.net.pretrained_cfg['input_size'][-1]
        self.fill(model, weights, random)

    def own_weights(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        return {key: value for key, value in state.items() if key in self.net.state_dict()}

    def patches(self, images_BCHW: Tensor) -> Tensor:
        """(B, h w, channels): the map in reading order, for sides that `patch_size` divides."""
        rows, columns = (side // self.patch_size for side in images_BCHW.shape[-2:])
        (map_BCHW,) = self.network().forward_intermediates(
            self.normalized(images_BCHW), indices=[self.stage], intermediates_only=True
        )
        if map_BCHW.shape[-2:] != (rows, columns):
            given = f'{map_BCHW.shape[-2]}x{map_BCHW.shape[-1]}'
            raise UserError(
                f'StageFeatures: {self.provenance} gives {given} positions, not {rows}x{columns}; take another.'
            )
        return map_BCHW.flatten(2).mT


def build(model: str, device: torch.device, pretrained: bool, options: Mapping[str, Any]) -> Any:
    net = build_network('StageFeatures', 'network with stages', model, device, pretrained, options)
    if not hasattr(net, 'prune_intermediate_layers'):
        raise UserError(f'StageFeatures: timm names no stages of {model}; take another network.')
    return net
