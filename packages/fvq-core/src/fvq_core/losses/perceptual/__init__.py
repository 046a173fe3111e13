"""Frozen networks that judge how alike two images look; losses and metrics share them."""

from .lpips import LPIPS
from .weights import MissingWeightsError, find_backbone

__all__ = ['LPIPS', 'MissingWeightsError', 'find_backbone']
