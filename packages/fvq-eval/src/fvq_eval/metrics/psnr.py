"""Peak signal-to-noise ratio."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from fvq_core.registry import METRICS

from .conventions import PSNRConventions, make_conventions
from .image_mean import ImageMean

LUMA = (65.481 / 255, 128.553 / 255, 24.966 / 255)  # ITU-R BT.601; its offset of 16 cancels in differences


def psnr(images: Tensor, reconstructions: Tensor, conventions: PSNRConventions | None = None) -> Tensor:
    """10 log10(255^2 / mean squared error) of each image (B,), over RGB or luma; 100 dB for an exact copy.

    Args:
        images: Pixels in [0, 255], (B, 3, H, W), any type.
        conventions: `rounding` is the caller's; it has made the pixels.
    """
    conventions = conventions or PSNRConventions()
    # Squares of differences of 8 bits are exact in float32, which takes a quarter of float64's time.
    exact = torch.float32 if images.dtype == reconstructions.dtype == torch.uint8 else torch.float64
    difference = images.to(exact) - reconstructions.to(exact)
    if conventions.color == 'luma':
        red, green, blue = difference.double().unbind(1)
        difference = LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue
    error = difference.square_().flatten(1).sum(1, dtype=torch.float64) / difference[0].numel() / 255**2
    error = error + conventions.epsilon if conventions.epsilon else error.clamp_min(1e-10)
    return -10.0 * error.log10()


@METRICS.register_module()
class PSNR(ImageMean):
    """Mean over images of each image's own PSNR: `psnr`, or `psnr_y` for luma only.

    Args:
        conventions: Arguments of `PSNRConventions`; by default those of `strict`.
    """

    unit: ClassVar[str] = 'dB'

    def __init__(self, conventions: PSNRConventions | Mapping[str, Any] | None = None, preset: str = 'strict') -> None:
        self.conventions = make_conventions(PSNRConventions, conventions)
        self.rounding = self.conventions.rounding
        self.name = 'psnr' if self.conventions.color == 'rgb' else 'psnr_y'
        self.preset, self.protocol = preset, str(self.conventions)

    def score(self, images: Tensor, reconstructions: Tensor) -> Tensor:
        return psnr(images, reconstructions, self.conventions)
