"""A small network with random weights, so that tests and CI take every path without a download."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvq_core.registry import FEATURE_EXTRACTORS

from .feature_extractor import FeatureExtractor

SIDE, GRID = 32, 4  # images are averaged to SIDE x SIDE; the spatial features lie on a GRID x GRID


@FEATURE_EXTRACTORS.register_module()
class RandomFeatures(FeatureExtractor):
    """Random but fixed weights. Numbers made with it mean nothing and are never called FID.

    Three convolutions on images averaged to 32 x 32, with pooled features, the first channels of the last map in order
    (row, column, channel), and a linear layer on the pooled ones: the same three outputs as the 2015 Inception network.

    Args:
        pool: Pooled features, which are also the channels of the last map.
        spatial: Spatial features, a multiple of 16.
        seed: Seed of the weights; the global random state is not changed.
    """

    def __init__(self, pool: int = 64, spatial: int = 48, logits: int = 20, seed: int = 0) -> None:
        super().__init__()
        if spatial % GRID**2 or spatial > pool * GRID**2:
            raise ValueError(f'spatial={spatial} is not a multiple of {GRID**2} up to pool * {GRID**2}; choose one.')
        self.name = 'random'
        self.sizes = {'pool': pool, 'spatial': spatial, 'logits': logits}
        self.preprocessing = f'area average to {SIDE} x {SIDE}, (x - 128) / 128'
        self.provenance = f'random weights, seed {seed}: not a trained network'
        with torch.device('meta'):
            self.convolutions = nn.ModuleList(
                nn.Conv2d(before, after, 3, stride=2, padding=1) for before, after in ((3, 16), (16, 32), (32, pool))
            )
            self.classifier = nn.Linear(pool, logits, bias=False)
        self.to_empty(device='cpu')
        rng = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.parameters():
                fan_in = parameter[0].numel() if parameter.ndim > 1 else len(parameter)
                parameter.copy_(torch.randn(parameter.shape, generator=rng) * (2 / fan_in) ** 0.5)
            self.logit_bias_C = torch.randn(logits, generator=rng)
        self.freeze()

    def extract(self, pixels_BCHW: Tensor) -> dict[str, Tensor]:
        h = (F.adaptive_avg_pool2d(pixels_BCHW, SIDE) - 128) / 128
        for convolution in self.convolutions:
            h = F.relu(convolution(h))
        pool_BD = h.mean((2, 3))
        channels = self.sizes['spatial'] // GRID**2
        spatial_BD = h[:, :channels].permute(0, 2, 3, 1).flatten(1)
        return {'pool': pool_BD, 'spatial': spatial_BD, 'logits': self.classifier(pool_BD)}
