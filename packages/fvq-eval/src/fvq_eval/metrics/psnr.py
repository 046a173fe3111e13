"""Peak signal-to-noise ratio."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from fvq_core.registry import METRICS

from .image_mean import ImageMean


def psnr(images: Tensor, reconstructions: Tensor) -> Tensor:
    """10 log10(255^2 / mean squared error) of each image (B,), over RGB; 100 dB for an exact copy."""
    error = (images.double() - reconstructions.double()).square().flatten(1).mean(1)
    return 10.0 * (255.0**2 / error.clamp_min(255.0**2 * 1e-10)).log10()


@METRICS.register_module()
class PSNR(ImageMean):
    """Mean over images of each image's own PSNR."""

    name: ClassVar[str] = 'psnr'
    unit: ClassVar[str] = 'dB'
    protocol: ClassVar[str] = 'strict: RGB, images rounded to 8 bits, mean over images of the PSNR of each'

    def score(self, images: Tensor, reconstructions: Tensor) -> Tensor:
        return psnr(images, reconstructions)
