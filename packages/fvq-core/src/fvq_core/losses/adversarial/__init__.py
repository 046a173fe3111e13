"""The adversarial part of a tokenizer's training: a discriminator, its losses and their weights."""

from .adversarial_loss import AdversarialLoss
from .diff_augment import DiffAugment
from .gradient_penalty import R1Penalty
from .lecam import LeCAM

__all__ = ['AdversarialLoss', 'DiffAugment', 'LeCAM', 'R1Penalty']
