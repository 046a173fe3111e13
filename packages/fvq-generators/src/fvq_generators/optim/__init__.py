"""Optimizers of generators."""

from .decay_by_dimension import DecayByDimension
from .skipping_optim_wrapper import SkippingOptimWrapper

__all__ = ['DecayByDimension', 'SkippingOptimWrapper']
