"""The logit-Laplace likelihood of pixels (Ramesh et al., 2021, DALL-E, appendix A.3)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import UserError
from ..registry import LOSSES
from .reconstruction import PixelLoss


@LOSSES.register_module()
class LogitLaplaceLoss(PixelLoss):
    """Mean negative log-likelihood of a colour value, in nats.

    A Laplace distribution has tails that no pixel reaches; mapped through the sigmoid it lives on (0, 1):

        f(t | mu, b) = exp(-|logit t - mu| / b) / (2 b t (1 - t)),    t = phi(image) = (1 - 2 eps) (image + 1) / 2 + eps.

    phi keeps t away from 0 and 1, where the logit grows without bound. It is the likelihood of t, as in DALL-E; that of
    the image itself differs by the constant log((1 - 2 eps) / 2).

    - Location: mu = logit(phi(reconstruction)), so that the median of the distribution, mapped back, is the
      reconstruction. DALL-E's decoder emits mu instead; ours emits pixels, which other losses need too. Outside
      [-1, 1], where phi may leave (0, 1), mu continues along its tangent: still a likelihood, and the gradient pulls back.
    - Scale: b is a constant. DALL-E's decoder emits log b in three more channels, which our decoders lack. ViT-VQGAN (Yu et
      al., 2022, section 3.3, weight 0.1) calls the term a normalized L1, which it is for a constant b: with b = 1,
      |logit t - mu| plus a constant.

    Args:
        eps: In (0, 0.5); 0.1 in DALL-E.
        scale: b, in logits; above 0.
    """

    def __init__(self, weight: float = 1.0, eps: float = 0.1, scale: float = 1.0) -> None:
        super().__init__(weight)
        if not 0 < eps < 0.5:
            raise UserError(f'LogitLaplaceLoss: eps must lie between 0 and 0.5, got {eps}; the published value is 0.1.')
        if scale <= 0:
            raise UserError(f'LogitLaplaceLoss: scale must be above 0, got {scale}; 1.0 is the default.')
        self.eps, self.scale = eps, scale

    def forward(self, reconstruction: Tensor, images: Tensor) -> Tensor:
        t = self.squeeze(images.float())
        misfit = (torch.logit(t) - self.location(reconstruction.float())).abs() / self.scale
        return self.weight * (misfit + torch.log(2 * self.scale * t * (1 - t))).mean()

    def squeeze(self, pixels: Tensor) -> Tensor:
        """phi: [-1, 1] -> [eps, 1 - eps]."""
        return (0.5 - self.eps) * (pixels + 1) + self.eps

    def location(self, reconstruction: Tensor) -> Tensor:
        """mu: the logit of phi on [-1, 1], its tangent outside."""
        inside = reconstruction.clamp(-1, 1)
        slope = (0.5 - self.eps) / (self.eps * (1 - self.eps))
        return torch.logit(self.squeeze(inside)) + slope * (reconstruction - inside)
