"""The likelihood that KL autoencoders are trained with (Rombach et al., 2022; `LPIPSWithDiscriminator` of latent-diffusion)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..errors import UserError
from ..registry import LOSSES


@LOSSES.register_module()
class NLLLoss(nn.Module):
    """The negative log-likelihood of an image, from the mean terms of pixel and perceptual losses.

    With r the absolute error of a value (L1Loss) plus the perceptual distance of its image, and N = C H W values an image,

        sum over N of r / exp(s) + s  =  N pixels / exp(s) + N perceptual / exp(s) + N s,

    so each image's perceptual distance counts once for every pixel and channel, and the sum is that of an image, averaged
    over the batch: at 256x256 it is 196,608 times the mean. `kl_weight` of `KLAutoencoder` belongs to this scale.

    Args:
        log_variance: s, a constant: the release calls it learned, but gives it to no optimizer.
    """

    log_variance: Tensor

    def __init__(self, log_variance: float = 0.0) -> None:
        super().__init__()
        if not math.isfinite(log_variance):
            raise UserError(
                f'NLLLoss: log_variance is a finite number, got {log_variance}; 0.0 is the published value.'
            )
        self.register_buffer('log_variance', torch.tensor(float(log_variance)), persistent=False)

    def forward(self, terms: Mapping[str, Tensor], images_BCHW: Tensor) -> dict[str, Tensor]:
        """The terms by name on the scale of a likelihood, and `log_variance`, N s."""
        N = math.prod(images_BCHW.shape[1:])
        scaled = {name: N * term / self.log_variance.exp() for name, term in terms.items()}
        return {**scaled, 'log_variance': N * self.log_variance}
