"""Penalties on how codes are used."""

from .contrastive import ContrastiveRegularizer
from .entropy import EntropyRegularizer
from .orthogonal import OrthogonalRegularizer
from .prior import PriorRegularizer

__all__ = ['ContrastiveRegularizer', 'EntropyRegularizer', 'OrthogonalRegularizer', 'PriorRegularizer']
