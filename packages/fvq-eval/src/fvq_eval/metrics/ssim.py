"""Structural similarity (Wang et al., 2004) through scikit-image."""

from __future__ import annotations

from typing import ClassVar

import torch
from fvq_core.registry import METRICS
from skimage.metrics import structural_similarity
from torch import Tensor

from .image_mean import ImageMean


def ssim(images: Tensor, reconstructions: Tensor) -> Tensor:
    """SSIM of each image (B,), uint8 (B, 3, H, W): 11-pixel Gaussian window of sigma 1.5, range 255, mean of R, G, B."""
    pairs = zip(images.cpu().numpy(), reconstructions.cpu().numpy(), strict=True)
    options = dict(channel_axis=0, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    return torch.tensor([structural_similarity(a, b, **options) for a, b in pairs], dtype=torch.float64)


@METRICS.register_module()
class SSIM(ImageMean):
    """Mean over images."""

    name: ClassVar[str] = 'ssim'
    protocol: ClassVar[str] = (
        'strict: RGB rounded to 8 bits, Gaussian window of sigma 1.5, range 255, mean over channels and images'
    )

    def score(self, images: Tensor, reconstructions: Tensor) -> Tensor:
        return ssim(images, reconstructions)
