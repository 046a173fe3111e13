"""The perceptual network of TiTok's second and single stage: the class logits of ConvNeXt-S (Liu et al., 2022)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import UserError
from ...saving.weights import load_weights
from .frozen_network import FrozenNetwork
from .weights import DOWNLOADS, find_published, read_published

FILE = 'convnext_small-0c510722.pth'
SEED = 0  # of random weights


class ConvNeXtLogits(FrozenNetwork):
    """Mean squared differences of the 1,000 ImageNet logits of pairs of images, resized (bilinear, antialiased).

    Args:
        weights: torchvision's file, or its folder; by default it is looked for and downloaded as LPIPS's networks are.
        random: Random weights from a fixed seed instead of trained ones, for tests and timings.
        check_hash: Refuse a `weights` file that is not the published one.
        image_size: Side that images are resized to; 224 as published, from 32 on.

    Raises:
        UserError: Options that contradict each other, or weights that do not fit.
        MissingWeightsError: The trained weights are not on this machine and cannot be downloaded. On the meta device none
            are needed.
    """

    mean_1C11: Tensor
    std_1C11: Tensor

    def __init__(
        self,
        weights: str | Path | None = None,
        random: bool = False,
        check_hash: bool = True,
        image_size: int = 224,
    ) -> None:
        super().__init__()
        if image_size < 32:
            raise UserError(
                f'ConvNeXtLogits: image_size must be 32 or more, got {image_size}; 224 is the published one.'
            )
        self.image_size = image_size
        if random and weights is not None:
            raise UserError(f'ConvNeXtLogits: random=True contradicts weights={str(weights)!r}; leave one of them out.')
        from torchvision.models import convnext_small  # takes seconds

        device = torch.get_default_device()
        with torch.device('meta'):
            self.net: Any = convnext_small()
        self.provenance = 'no weights, on the meta device'
        if device.type != 'meta':
            self.net.to_empty(device='cpu')
            self.provenance = self.fill_random() if random else self.fill_trained(weights, check_hash)
        self.register_buffer('mean_1C11', torch.tensor([0.485, 0.456, 0.406], device='cpu').view(1, 3, 1, 1))
        self.register_buffer('std_1C11', torch.tensor([0.229, 0.224, 0.225], device='cpu').view(1, 3, 1, 1))
        self.requires_grad_(False).eval().to(device)

    def fill_random(self) -> str:
        rng = torch.Generator().manual_seed(SEED)
        for name, parameter in self.net.named_parameters():
            if parameter.ndim in (2, 4):
                nn.init.kaiming_normal_(parameter, generator=rng)
            else:
                nn.init.constant_(parameter, 0.0 if name.endswith('bias') else 1.0)
        return f'random weights, seed {SEED}: not ConvNeXt-S'

    def fill_trained(self, weights: str | Path | None, check_hash: bool) -> str:
        path = find_published('ConvNeXtLogits', f'{DOWNLOADS}/{FILE}', weights)
        state, provenance = read_published('ConvNeXtLogits', path, FILE, check_hash)
        load_weights(self.net, state, str(path))
        return provenance

    def train(self, mode: bool = True) -> ConvNeXtLogits:
        """Stays in eval mode."""
        return super().train(False)

    def forward(self, input_BCHW: Tensor, target_BCHW: Tensor) -> Tensor:
        """(B,) float32; of RGB images in [-1, 1], the target without gradient."""
        if input_BCHW.ndim != 4 or input_BCHW.shape[1] != 3 or input_BCHW.shape != target_BCHW.shape:
            shapes = f'{tuple(input_BCHW.shape)} and {tuple(target_BCHW.shape)}'
            raise UserError(f'ConvNeXtLogits: expected two batches of RGB images of equal size, got {shapes}.')
        with torch.no_grad():
            targets = self.logits(target_BCHW)
        return (self.logits(input_BCHW) - targets).square().mean(1)

    def logits(self, images_BCHW: Tensor) -> Tensor:
        resized = F.interpolate(
            (images_BCHW + 1) / 2, (self.image_size, self.image_size), mode='bilinear', antialias=True
        )
        return self.network()((resized - self.mean_1C11) / self.std_1C11).float()

    def extra_repr(self) -> str:
        return f'{self.image_size} pixels, {self.provenance}'
