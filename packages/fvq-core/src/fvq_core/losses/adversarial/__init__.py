"""The adversarial half of a tokenizer's training: a discriminator, its losses and how much they count."""

from .adversarial_loss import AdversarialLoss
from .gradient_penalty import R1Penalty
from .lecam import LeCAM

__all__ = ['AdversarialLoss', 'LeCAM', 'R1Penalty']
