"""Structural similarity (Wang et al., 2004)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.registry import METRICS

from .conventions import SSIMConventions, make_conventions
from .image_mean import ImageMean

SIGMA = 1.5  # of the Gaussian window
BLOCK = 48  # window positions that one matrix product takes
FEW = 2  # images whose float64 maps a CPU's cache holds: half the time of a batch of 20


def ssim(images: Tensor, reconstructions: Tensor, conventions: SSIMConventions | None = None) -> Tensor:
    """SSIM of each image (B,): by default an 11-pixel Gaussian window of sigma 1.5, range 255, mean of R, G, B.

    Equal to scikit-image's with the same options (`gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
    data_range=255` for the default); the pixels at each border, where the window leaves the image, do not count.

    Args:
        images: Pixels in [0, 255], (B, 3, H, W), any type.
        conventions: `rounding` is the caller's; it has made the pixels.

    Raises:
        UserError: An image is smaller than the window.
    """
    conventions = conventions or SSIMConventions()
    x, y = images.double(), reconstructions.double()
    if conventions.downsample:
        factor = max(1, round(min(x.shape[-2:]) / 256))
        x, y = F.avg_pool2d(x, factor), F.avg_pool2d(y, factor)
    luminance, contrast = similarity_maps(x, y, conventions)
    return (luminance * contrast).flatten(1).mean(1)


def similarity_maps(x: Tensor, y: Tensor, conventions: SSIMConventions) -> tuple[Tensor, Tensor]:
    """SSIM's two factors where the window lies inside, (B, C, H - w + 1, W - w + 1): luminance, and contrast and structure.

    Args:
        x: Pixels in [0, 255], float64 (B, C, H, W).
    """
    size = conventions.window_size
    if min(x.shape[-2:]) < size:
        raise UserError(f'SSIM: images must be at least {size} pixels wide and high, got {tuple(x.shape[-2:])}.')
    maps = torch.cat([x, y, x * x + y * y, x * y], 1)  # of the variances only their sum is needed
    mean_x, mean_y, squares, products = blur(maps, window_line(conventions).to(maps, non_blocking=True)).chunk(4, 1)
    n = size * size if conventions.sample_covariance else float('inf')
    unbiased = 1 / (1 - 1 / n)
    means, squared_means = mean_x * mean_y, mean_x.square() + mean_y.square()
    c1, c2 = (0.01 * 255 * conventions.data_range) ** 2, (0.03 * 255 * conventions.data_range) ** 2
    luminance = (2 * means + c1) / (squared_means + c1)
    return luminance, (2 * unbiased * (products - means) + c2) / (unbiased * (squares - squared_means) + c2)


def few_at_a_time(score: Callable[[Tensor, Tensor], Tensor], images: Tensor, reconstructions: Tensor) -> Tensor:
    """`score` of each image, (B,); on a CPU of `FEW` at a time."""
    if images.device.type != 'cpu':
        return score(images, reconstructions)
    return torch.cat([score(*pair) for pair in zip(images.split(FEW), reconstructions.split(FEW), strict=True)])


def blur(x: Tensor, window: Tensor) -> Tensor:
    """Each channel (..., H, W) under a window (w,) where it lies inside: (..., H - w + 1, W - w + 1)."""
    rows = [window_matrix(part.shape[-2], window) @ part for part in overlapping(x, -2, len(window))]
    x = torch.cat(rows, -2)
    return torch.cat([part @ window_matrix(part.shape[-1], window).t() for part in overlapping(x, -1, len(window))], -1)


def overlapping(x: Tensor, dim: int, window: int) -> list[Tensor]:
    """Views of x that give up to `BLOCK` window positions each.

    Products with small band matrices are several times faster in float64 than a depthwise convolution.
    """
    positions = x.shape[dim] - window + 1
    return [x.narrow(dim, at, min(BLOCK, positions - at) + window - 1) for at in range(0, positions, BLOCK)]


def window_line(conventions: SSIMConventions) -> Tensor:
    """The 1-D window, (w,) float64, which sums to 1."""
    size = conventions.window_size
    offsets = torch.arange(size, dtype=torch.float64) - size // 2
    window = (-0.5 * (offsets / SIGMA).square()).exp() if conventions.window == 'gaussian' else torch.ones_like(offsets)
    return window / window.sum()


def window_matrix(size: int, window: Tensor) -> Tensor:
    """The 1-D window at every position inside a line of `size` pixels, (size - w + 1, size)."""
    positions = size - len(window) + 1
    starts, offsets = (torch.arange(count, device=window.device) for count in (positions, len(window)))
    columns = starts[:, None] + offsets
    return window.new_zeros(positions, size).scatter(1, columns, window.expand(positions, -1))


@METRICS.register_module()
class SSIM(ImageMean):
    """Mean over images: `ssim`.

    Args:
        conventions: Arguments of `SSIMConventions`; by default those of `strict`.
    """

    name = 'ssim'

    def __init__(self, conventions: SSIMConventions | Mapping[str, Any] | None = None, preset: str = 'strict') -> None:
        self.conventions = make_conventions(SSIMConventions, conventions)
        self.rounding, self.smallest = self.conventions.rounding, self.conventions.window_size
        self.preset, self.protocol = preset, str(self.conventions)

    def score(self, images: Tensor, reconstructions: Tensor) -> Tensor:
        return few_at_a_time(partial(ssim, conventions=self.conventions), images, reconstructions)
