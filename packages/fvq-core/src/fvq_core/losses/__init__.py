"""Losses between an image and its reconstruction, and of a discriminator's logits."""

from .adversarial import AdversarialLoss, LeCAM, R1Penalty
from .gan import HingeGANLoss, NonSaturatingGANLoss, VanillaGANLoss
from .logit_laplace import LogitLaplaceLoss
from .perceptual_loss import PerceptualLoss
from .reconstruction import L1Loss, L2Loss

__all__ = [
    'AdversarialLoss',
    'HingeGANLoss',
    'L1Loss',
    'L2Loss',
    'LeCAM',
    'LogitLaplaceLoss',
    'NonSaturatingGANLoss',
    'PerceptualLoss',
    'R1Penalty',
    'VanillaGANLoss',
]
