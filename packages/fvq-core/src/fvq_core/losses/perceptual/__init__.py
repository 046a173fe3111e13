"""Frozen networks that measure perceptual similarity, for losses and metrics."""

from .lpips import LPIPS
from .weights import MissingWeightsError, find_backbone

__all__ = ['LPIPS', 'MissingWeightsError', 'find_backbone']
