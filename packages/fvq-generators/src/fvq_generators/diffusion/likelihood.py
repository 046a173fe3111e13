"""Divergences and likelihoods of Gaussians, in nats."""

from __future__ import annotations

import math

import torch
from torch import Tensor

SMALLEST = 1e-12  # of a probability whose logarithm is taken
HALF_BIN = 1 / 255  # of 8-bit pixels in [-1, 1]


def gaussian_kl(mean1: Tensor, log_variance1: Tensor, mean2: Tensor, log_variance2: Tensor) -> Tensor:
    """Divergence of the second Gaussian from the first, elementwise."""
    spread = torch.exp(log_variance1 - log_variance2)
    distance = (mean1 - mean2).square() * torch.exp(-log_variance2)
    return 0.5 * (log_variance2 - log_variance1 + spread + distance - 1)


def normal_cdf(x: Tensor) -> Tensor:
    """The cumulative distribution of a standard normal, as the releases approximate it (Page, 1977)."""
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def image_log_likelihood(x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """Log probability of 8-bit pixels in [-1, 1] under a Gaussian, elementwise; the outer bins reach to infinity."""
    precision = torch.exp(-log_scale)
    upper, lower = (normal_cdf(precision * (x - mean + side)) for side in (HALF_BIN, -HALF_BIN))
    likely = torch.where(x < -0.999, upper, torch.where(x > 0.999, 1 - lower, upper - lower))
    return likely.clamp(min=SMALLEST).log()
