"""Frozen networks that judge how alike two images look; losses and metrics share them."""

from .lpips import LPIPS
from .weights import MissingWeightsError

__all__ = ['LPIPS', 'MissingWeightsError']
