"""Distances in the features of a trained classifier: LPIPS where its own network is here, and said so where it is not."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from fvq_core.images import from_uint8
from fvq_core.metric import MetricValue
from fvq_core.perceptual.lpips import LPIPS
from fvq_core.registry import METRICS
from fvq_core.tokenizer import Tokenizer

from .image_mean import ImageMean


@METRICS.register_module()
class PerceptualDistance(ImageMean):
    """Mean over images of the distance between image and reconstruction, both rounded to 8 bits; 0 for a copy.

    With the published network of LPIPS (Zhang et al., 2018) the value is called `lpips`. With any other training of that
    network the fitted channel weights mean nothing, so all channels count alike and the value is called
    `feature_distance`: the sum over layers of the mean squared difference of features of unit length. It may rank methods
    of one table and must not be compared with a published LPIPS. There is no value without trained weights.

    Args:
        net: `'alex'` (what LPIPS is mostly reported with), `'vgg'` or `'squeeze'`.
        weights: See `fvq_core.perceptual.LPIPS`.

    Raises:
        MissingWeightsError: The network's weights are neither here nor can they be downloaded.
    """

    name: ClassVar[str] = 'lpips'
    protocol: ClassVar[str] = 'strict: RGB rounded to 8 bits, mean over images'

    def __init__(self, net: str = 'alex', weights: str | None = None) -> None:
        self.network = LPIPS(net, weights=weights, check_hash=False)
        self.is_lpips = 'not the published' not in self.network.provenance
        if not self.is_lpips:
            with torch.no_grad():
                for lin in self.network.lins:
                    lin.fill_(1.0)

    def reset(self, tokenizer: Tokenizer) -> None:
        super().reset(tokenizer)
        self.network.to(self.total.device)

    def score(self, images: Tensor, reconstructions: Tensor) -> Tensor:
        return self.network(from_uint8(reconstructions), from_uint8(images))

    @property
    def key(self) -> str:
        """What the value is called."""
        return 'lpips' if self.is_lpips else 'feature_distance'

    def compute(self) -> dict[str, MetricValue]:
        (value,) = super().compute().values()
        kind = 'LPIPS 0.1' if self.is_lpips else 'unweighted features, not LPIPS'
        protocol = f'{self.protocol}; {kind}, {self.network.net_name}, {self.network.provenance}'
        return {self.key: replace(value, protocol=protocol)}
