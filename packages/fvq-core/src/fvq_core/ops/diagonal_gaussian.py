"""Normal distributions with independent values: what a KL autoencoder's encoder gives for an image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

LOG_VARIANCES = (-30.0, 20.0)  # what they are clipped to, as in latent diffusion


@dataclass(frozen=True)
class DiagonalGaussian:
    """One distribution an image of a batch.

    Args:
        mean: (B, ...) float.
        log_variance: Of the same shape, within `LOG_VARIANCES`.
    """

    mean: Tensor
    log_variance: Tensor

    @classmethod
    def from_moments(cls, moments: Tensor) -> Self:
        """Of (B, 2D, ...), whose first D channels are the mean and whose others are the log variance, which is clipped."""
        mean, log_variance = moments.chunk(2, 1)
        return cls(mean, log_variance.clamp(*LOG_VARIANCES))

    def moments(self) -> Tensor:
        """(B, 2D, ...), what `from_moments` takes."""
        return torch.cat([self.mean, self.log_variance], 1)

    def sample(self, noise: Tensor | None = None) -> Tensor:
        """One draw an image, of the mean's shape; `noise`, from a standard normal distribution, is drawn if it is not given."""
        noise = torch.randn_like(self.mean) if noise is None else noise
        return self.mean + (0.5 * self.log_variance).exp() * noise

    def mode(self) -> Tensor:
        """The likeliest value, which is the mean."""
        return self.mean

    def kl(self) -> Tensor:
        """The Kullback-Leibler divergence from the standard normal distribution, in nats, summed over an image: (B,)."""
        terms = self.mean.square() + self.log_variance.exp() - 1 - self.log_variance
        return 0.5 * terms.flatten(1).sum(1)

    def nll(self, values: Tensor) -> Tensor:
        """The negative log-likelihood of values of the mean's shape, in nats, summed over an image: (B,)."""
        terms = math.log(2 * math.pi) + self.log_variance + (values - self.mean).square() / self.log_variance.exp()
        return 0.5 * terms.flatten(1).sum(1)
