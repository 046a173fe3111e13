"""A mean over images of one number an image."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from fvq_core.autoencoder import Autoencoder, AutoencoderOutput
from fvq_core.errors import UserError
from fvq_core.metric import Metric, MetricValue

from .rounding import Rounding, original_pixels, to_pixels


class ImageMean(Metric):
    """Sums `score(image, reconstruction)` in float64 over images.

    Attributes:
        name: What the value is called.
        protocol: How the value is computed, in words.
        rounding: How floats become the pixels that are compared.
        smallest: Images with a shorter side have no score.
    """

    name: str
    unit: ClassVar[str] = ''
    protocol: str
    preset: str
    rounding: Rounding = 'round'
    smallest: int = 1

    def score(self, images: Tensor, reconstructions: Tensor) -> Tensor:
        """One number an image, (B,), from pixels (B, 3, H, W): uint8, or floats in [0, 255] if nothing is rounded."""
        raise NotImplementedError

    def reset(self, autoencoder: Autoencoder) -> None:
        device = next(autoencoder.parameters()).device
        self.total = torch.zeros(1, dtype=torch.float64, device=device)
        self.samples = torch.zeros(1, dtype=torch.int64, device=device)
        self.scores: list[Tensor] = []

    def update(self, images_BCHW: Tensor, output: AutoencoderOutput, autoencoder: Autoencoder) -> None:
        if output.reconstruction.shape != images_BCHW.shape:
            raise UserError(
                f'{type(self).__name__}: the reconstruction is {tuple(output.reconstruction.shape)}, the images are '
                f'{tuple(images_BCHW.shape)}; compare images of equal size.'
            )
        originals = original_pixels(images_BCHW, self.rounding)
        scores = self.score(originals, to_pixels(output.reconstruction, self.rounding)).double()
        self.total += scores.sum().to(self.total.device)
        self.samples += len(images_BCHW)
        self.scores.append(scores)

    def per_image(self) -> Tensor:
        """The number of each image that this rank saw, in order, float64 on the CPU."""
        return torch.cat([torch.empty(0, dtype=torch.float64), *(scores.cpu() for scores in self.scores)])

    def statistics(self) -> list[Tensor]:
        return [self.total, self.samples]

    def compute(self) -> dict[str, MetricValue]:
        samples = int(self.samples)
        value = self.total.item() / samples
        return {self.name: MetricValue(value, self.unit, self.protocol, samples, preset=self.preset)}
