"""Alignment of a tokenizer's features with those of a frozen network: REPA (Yu et al., 2025), GigaTok (Xiong et al., 2025)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..autoencoder import Autoencoder
from ..errors import UserError, nearest_hint
from ..quantizer import QuantizerOutput
from ..registry import LOSSES
from .adversarial.adversarial_loss import frozen
from .perceptual import StageFeatures, ViTFeatures, WithFrozenNetwork
from .perceptual.timm_network import network_name
from .perceptual.vit_features import SMALL

MODEL = 'vit_base_patch14_dinov2.lvd142m'
MEASURES = ('cosine', 'mse')
SMALL_STAGES = 'test_resnet'  # a small network of timm with stages, for smoke runs with random weights


@LOSSES.register_module()
class FeatureAlignment(WithFrozenNetwork):
    """weight x distance of a layer's features behind a trained head, from a frozen network's features of the same image.

    The network sees the image at the size that gives it one patch for each position of the layer: at 224 pixels for patches
    of 14 and a grid of 16 x 16. The head is a part of the task, with an optimizer of its own; no tokenizer is saved with it.
    The gradient that reaches the tokenizer is that of the head as it is before the step.

    A score made of the same network's features says little of a tokenizer that was trained with them: take another
    network. Evaluation warns of it.

    Args:
        model: Network of timm, such as `vit_base_patch14_dinov2.lvd142m`, a CLIP or a SigLIP; see `ViTFeatures`. With `stage`
            a convolutional one, such as `vgg16`.
        weights, random, options: See `ViTFeatures`.
        layer: Module of the tokenizer by its dotted name: `'quantizer'`, whose quantized latent it is, `'encoder'`,
            `'decoder.blocks.2'`, ...
        width: Channels of that layer's features: (B, width, h, w), or tokens (B, T, width) in reading order.
        grid: Height and width of the grid of tokens; that of a square by default.
        first: Number of tokens in front of those of the grid, such as a class token. Others may follow behind.
        pooled: Compare the mean over positions with that of the patches; for sequences without a place on the image too, whose
            grid is then that of the network's patches.
        depth: Block of the network, from 0, whose patches are the target; the last by default, behind the last norm.
        stage: Stage of a convolutional network, in place of `depth`; see `StageFeatures`.
        measure: `'cosine'`, 1 - cosine similarity, or `'mse'`; means over positions (and channels).
        hidden: Channels between the three linear maps of the head, with SiLU, as in REPA; None for a single map.
        weight: Weight of the term; 0.5 in GigaTok.

    Raises:
        UserError: A measure or a layer that there is not, features of another shape, or a network that cannot be had.
    """

    def __init__(
        self,
        model: str = MODEL,
        layer: str = 'quantizer',
        width: int = 256,
        weights: str | Path | None = None,
        random: bool = False,
        options: Mapping[str, Any] | None = None,
        grid: Sequence[int] | None = None,
        first: int = 0,
        pooled: bool = False,
        depth: int | None = None,
        stage: int | None = None,
        measure: Literal['cosine', 'mse'] = 'cosine',
        hidden: int | None = 2048,
        weight: float = 0.5,
    ) -> None:
        if measure not in MEASURES:
            raise UserError(f"FeatureAlignment: unknown measure '{measure}'; {nearest_hint(measure, MEASURES)}")
        if depth is not None and stage is not None:
            raise UserError(
                'FeatureAlignment: depth is of a transformer and stage of a convolutional network; give one.'
            )
        network = (
            ViTFeatures(model, None if depth is None else (depth,), weights, random, options)
            if stage is None
            else StageFeatures(model, stage, weights, random, options)
        )
        super().__init__(network, random)
        self.layer, self.width, self.grid, self.first, self.pooled = layer, width, grid, first, pooled
        self.measure, self.weight, self.patch_size = measure, weight, network.patch_size
        self.own_grid = network.image_size // network.patch_size
        sizes = [width, network.out_channels] if hidden is None else [width, hidden, hidden, network.out_channels]
        maps: list[nn.Module] = []
        for before, after in itertools.pairwise(sizes):
            maps += [nn.SiLU(), nn.Linear(before, after)]
        self.head = nn.Sequential(*maps[1:])
        self.seen: list[Any] = []  # the layer's output in the last training pass
        self.compared: list[Tensor] = []  # features and targets of that pass, for the head's step

    def attach(self, autoencoder: Autoencoder) -> None:
        """Called once with what is trained: listen to the layer in its training passes."""
        modules = dict(autoencoder.named_modules())
        if self.layer not in modules:
            hint = nearest_hint(self.layer, modules)
            raise UserError(f"FeatureAlignment: {type(autoencoder).__name__} has no layer '{self.layer}'; {hint}")

        def listen(module: nn.Module, inputs: Any, output: Any) -> None:
            if self.training:
                self.seen[:] = [output]

        modules[self.layer].register_forward_hook(listen)

    def of_tokenizer(self, images_BCHW: Tensor) -> Tensor:
        """The weighted term of the pass that just ran, a scalar whose gradient reaches the tokenizer but not the head."""
        if not self.seen:
            raise UserError(
                f"FeatureAlignment: '{self.layer}' is not called when images are reconstructed; name a module inside it."
            )
        features_BNC, grid = self.positions(self.seen.pop())
        targets_BNC = self.targets(images_BCHW, grid)
        self.compared = [features_BNC.detach(), targets_BNC]
        with frozen(self.head):
            return self.distance(features_BNC, targets_BNC)

    def forward(self) -> Tensor:
        """The same term for the head's own step, whose gradient reaches the head alone."""
        self.seen.clear()  # a checkpointed layer was called again in the tokenizer's backward pass
        return self.distance(*self.compared)

    def positions(self, output: Any) -> tuple[Tensor, tuple[int, int]]:
        """Features (B, N, width) of the layer's positions, and their grid."""
        x = output.z_q_BDHW if isinstance(output, QuantizerOutput) else output
        shape = tuple(x.shape) if isinstance(x, Tensor) else ()
        if len(shape) == 4 and shape[1] == self.width:
            return self.mean(x.flatten(2).mT), (shape[2], shape[3])
        if len(shape) != 3 or self.width not in shape[1:]:
            given = shape or type(x).__name__
            raise UserError(f'FeatureAlignment: {self.layer} gives {given}, not {self.width} channels; set width.')
        x_BTC = x if shape[2] == self.width else x.mT
        side = round((x_BTC.shape[1] - self.first) ** 0.5)
        rows, columns = (self.own_grid, self.own_grid) if self.pooled else self.grid or (side, side)
        last = x_BTC.shape[1] if self.pooled else self.first + rows * columns
        if last > x_BTC.shape[1] or (self.grid is None and last != x_BTC.shape[1]):
            raise UserError(
                f'FeatureAlignment: {x_BTC.shape[1]} tokens of {self.layer} are no grid behind {self.first}; set grid and '
                'first, or pooled=True.'
            )
        return self.mean(x_BTC[:, self.first : last]), (rows, columns)

    @torch.no_grad()
    def targets(self, images_BCHW: Tensor, grid: tuple[int, int]) -> Tensor:
        """(B, N, channels): the network's features of the patches of such a grid."""
        size = (grid[0] * self.patch_size, grid[1] * self.patch_size)
        resized = F.interpolate(images_BCHW.float(), size, mode='bicubic', antialias=True)
        return self.mean(cast(ViTFeatures | StageFeatures, self.network).patches(resized).float())

    def mean(self, x_BNC: Tensor) -> Tensor:
        return x_BNC.mean(1, keepdim=True) if self.pooled else x_BNC

    def distance(self, features_BNC: Tensor, targets_BNC: Tensor) -> Tensor:
        found = self.head(features_BNC).float()
        if self.measure == 'mse':
            return self.weight * F.mse_loss(found, targets_BNC)
        return self.weight * (1 - F.cosine_similarity(found, targets_BNC, dim=2)).mean()

    def extra_repr(self) -> str:
        return f'{self.layer} with {self.network.extra_repr()}, {self.measure}, weight={self.weight}'

    @staticmethod
    def frozen_network(cfg: Mapping[str, Any]) -> str:
        """The kind of network of a config, with whose features nothing that it trains should be scored."""
        return network_name(cfg.get('model', MODEL))

    @staticmethod
    def smoke(cfg: dict[str, Any]) -> dict[str, Any]:
        """A small network with random weights, and 16 channels, as small tokenizers have; a narrow head."""
        hidden = None if cfg.get('hidden', 2048) is None else 32
        small = (
            dict(options=SMALL, depth=None)
            if cfg.get('stage') is None
            else dict(model=SMALL_STAGES, options=None, stage=-1)
        )
        return dict(random=True, weights=None, width=16, hidden=hidden, grid=None, **small)
