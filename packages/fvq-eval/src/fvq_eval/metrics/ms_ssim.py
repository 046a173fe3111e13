"""Multi-scale structural similarity (Wang, Simoncelli & Bovik, Asilomar 2003)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.registry import METRICS

from .conventions import SSIMConventions
from .image_mean import ImageMean
from .ssim import few_at_a_time, similarity_maps

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the five scales, from full resolution on; table 1 of the paper
GAUSSIAN = SSIMConventions()
SMALLEST = (GAUSSIAN.window_size - 1) * 2 ** (len(WEIGHTS) - 1) + 1  # 161 pixels: the window fits the coarsest scale


def ms_ssim(images: Tensor, reconstructions: Tensor) -> Tensor:
    """MS-SSIM of each image (B,): five scales, 11-pixel Gaussian window of sigma 1.5, range 255, mean of R, G, B.

    Contrast and structure count at every scale, luminance only at the coarsest (equation 7). Between scales 2x2 pixels are
    averaged and every second is kept; an odd side repeats its last line, as the authors' code pads. Where contrast and
    structure of a scale are negative on average, a power of it is not defined, and 0 is taken.

    Args:
        images: Pixels in [0, 255], (B, 3, H, W), any type.

    Raises:
        UserError: A side is shorter than 161 pixels.
    """
    if min(images.shape[-2:]) < SMALLEST:
        raise UserError(f'MS-SSIM: images need at least {SMALLEST} pixels a side, got {tuple(images.shape[-2:])}.')
    x, y = images.double(), reconstructions.double()
    product = torch.ones(x.shape[:2], dtype=torch.float64, device=x.device)
    for scale, weight in enumerate(WEIGHTS):
        if scale:
            x, y = halve(x), halve(y)
        luminance, contrast = similarity_maps(x, y, GAUSSIAN)
        similarity = luminance * contrast if scale == len(WEIGHTS) - 1 else contrast
        product = product * similarity.mean((2, 3)).clamp_min(0) ** weight
    return product.mean(1)


def halve(x_BCHW: Tensor) -> Tensor:
    """Means of 2x2 pixels, (B, C, ceil(H/2), ceil(W/2))."""
    height, width = x_BCHW.shape[-2:]
    return F.avg_pool2d(F.pad(x_BCHW, (0, width % 2, 0, height % 2), mode='replicate'), 2)


@METRICS.register_module()
class MSSSIM(ImageMean):
    """Mean over images: `ms_ssim`."""

    name = 'ms_ssim'
    smallest = SMALLEST

    def __init__(self, preset: str = 'strict') -> None:
        self.preset, self.protocol = preset, f'five scales, {GAUSSIAN}'

    def score(self, images: Tensor, reconstructions: Tensor) -> Tensor:
        return few_at_a_time(ms_ssim, images, reconstructions)
