"""Losses between an image and its reconstruction, and of a discriminator's logits."""

from .gan import HingeGANLoss, NonSaturatingGANLoss, VanillaGANLoss
from .logit_laplace import LogitLaplaceLoss
from .perceptual_loss import PerceptualLoss
from .reconstruction import L1Loss, L2Loss

__all__ = [
    'HingeGANLoss',
    'L1Loss',
    'L2Loss',
    'LogitLaplaceLoss',
    'NonSaturatingGANLoss',
    'PerceptualLoss',
    'VanillaGANLoss',
]
