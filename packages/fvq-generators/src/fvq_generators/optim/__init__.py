"""Optimizers of generators."""

from .decay_by_dimension import DecayByDimension

__all__ = ['DecayByDimension']
