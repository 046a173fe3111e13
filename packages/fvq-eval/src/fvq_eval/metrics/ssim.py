"""Structural similarity (Wang et al., 2004)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.registry import METRICS

from .image_mean import ImageMean

SIGMA, RADIUS = 1.5, 5


def ssim(images: Tensor, reconstructions: Tensor) -> Tensor:
    """SSIM of each image (B,), uint8 (B, 3, H, W): 11-pixel Gaussian window of sigma 1.5, range 255, mean of R, G, B.

    Equal to scikit-image's with `gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255`; the
    five pixels at each border, where the window leaves the image, do not count.

    Raises:
        UserError: An image is smaller than the window.
    """
    if min(images.shape[-2:]) < 2 * RADIUS + 1:
        raise UserError(f'SSIM: images must be at least 11 pixels wide and high, got {tuple(images.shape[-2:])}.')
    x, y = images.double(), reconstructions.double()
    mean_x, mean_y, xx, yy, xy = blur(torch.cat([x, y, x * x, y * y, x * y], 1)).chunk(5, 1)
    var_x, var_y, cov = xx - mean_x.square(), yy - mean_y.square(), xy - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similarity = (2 * mean_x * mean_y + c1) * (2 * cov + c2)
    similarity /= (mean_x.square() + mean_y.square() + c1) * (var_x + var_y + c2)
    return similarity.flatten(1).mean(1)


def blur(x: Tensor) -> Tensor:
    """Each channel (..., H, W) under the Gaussian window where it lies inside: (..., H - 10, W - 10).

    As two products with band matrices, which are several times faster in float64 than a depthwise convolution.
    """
    return window_matrix(x.shape[-2], x) @ x @ window_matrix(x.shape[-1], x).t()


def window_matrix(size: int, like: Tensor) -> Tensor:
    """The 1-D window at every place inside a line of `size` pixels, (size - 10, size)."""
    offsets = torch.arange(-RADIUS, RADIUS + 1, dtype=like.dtype, device=like.device)
    window = (-0.5 * (offsets / SIGMA).square()).exp()
    places = size - 2 * RADIUS
    columns = torch.arange(places, device=like.device).unsqueeze(1) + torch.arange(len(window), device=like.device)
    return like.new_zeros(places, size).scatter(1, columns, (window / window.sum()).expand(places, -1))


@METRICS.register_module()
class SSIM(ImageMean):
    """Mean over images."""

    name: ClassVar[str] = 'ssim'
    protocol: ClassVar[str] = (
        'strict: RGB rounded to 8 bits, Gaussian window of sigma 1.5, range 255, mean over channels and images'
    )

    def score(self, images: Tensor, reconstructions: Tensor) -> Tensor:
        return ssim(images, reconstructions)
