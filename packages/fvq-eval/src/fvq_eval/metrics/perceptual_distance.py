"""Distances in the features of a trained classifier: LPIPS with its published network, `feature_distance` with another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from fvq_core.autoencoder import Autoencoder
from fvq_core.errors import UserError
from fvq_core.losses.perceptual.lpips import LPIPS, SMALLEST
from fvq_core.metric import MetricValue
from fvq_core.registry import METRICS

from ..features.each_image import each_image
from .conventions import LPIPSConventions, make_conventions
from .image_mean import ImageMean


@METRICS.register_module()
class PerceptualDistance(ImageMean):
    """Mean over images of the distance between image and reconstruction, by default rounded to 8 bits; 0 for a copy.

    With the published network of LPIPS (Zhang et al., 2018) the value is called `lpips`. With any other training of that
    network the fitted channel weights mean nothing, so all channels count alike and the value is called
    `feature_distance`: the sum over layers of the mean squared difference of features of unit length. It may rank methods
    of one table and must not be compared with a published LPIPS. There is no value without trained weights.

    Args:
        net: `'alex'` (what LPIPS is mostly reported with), `'vgg'` or `'squeeze'`.
        weights: See `fvq_core.losses.perceptual.LPIPS`.
        conventions: Arguments of `LPIPSConventions`, instead of `net`.
        name_net: Call the value `lpips_alex` and so on, for protocols with several networks.

    Raises:
        MissingWeightsError: The network's weights are neither here nor can they be downloaded.
    """

    name = 'lpips'

    def __init__(
        self,
        net: Literal['alex', 'vgg', 'squeeze'] = 'alex',
        weights: str | None = None,
        conventions: LPIPSConventions | Mapping[str, Any] | None = None,
        preset: str = 'strict',
        name_net: bool = False,
    ) -> None:
        self.conventions = make_conventions(LPIPSConventions, dict(net=net) if conventions is None else conventions)
        if conventions is not None and net not in ('alex', self.conventions.net):
            raise UserError(f"PerceptualDistance: net='{net}' contradicts the conventions' '{self.conventions.net}'.")
        self.network = LPIPS(self.conventions.net, weights=weights, check_hash=False)
        self.rounding, self.smallest = self.conventions.rounding, SMALLEST[self.conventions.net]
        self.preset, self.name_net = preset, name_net
        self.is_lpips = 'not the published' not in self.network.provenance
        if not self.is_lpips:
            with torch.no_grad():
                for lin in self.network.lins:
                    lin.fill_(1.0)
        kind = 'LPIPS 0.1' if self.is_lpips else 'unweighted features, not LPIPS'
        self.protocol = f'{self.conventions}; {kind}, {self.network.provenance}'

    def reset(self, autoencoder: Autoencoder) -> None:
        super().reset(autoencoder)
        self.network.to(self.total.device)

    def score(self, images: Tensor, reconstructions: Tensor) -> Tensor:
        pairs = torch.stack([self.scaled(reconstructions), self.scaled(images)], 1)
        if pairs.device.type == 'cpu':
            return torch.cat(each_image(lambda pair: self.network(pair[:, 0], pair[:, 1]), pairs))
        return self.network(pairs[:, 0], pairs[:, 1])

    def scaled(self, pixels: Tensor) -> Tensor:
        """Pixels in [0, 255] to floats between the conventions' `low` and `high`."""
        low, high = self.conventions.low, self.conventions.high
        return (pixels.float() / 127.5).sub_(1).mul_((high - low) / 2).add_((high + low) / 2)

    @property
    def key(self) -> str:
        """What the value is called."""
        kind = 'lpips' if self.is_lpips else 'feature_distance'
        return f'{kind}_{self.conventions.net}' if self.name_net else kind

    def compute(self) -> dict[str, MetricValue]:
        (value,) = super().compute().values()
        return {self.key: value}
