"""Penalties on how codes are chosen."""

from .entropy import EntropyRegularizer

__all__ = ['EntropyRegularizer']
