"""Frozen networks that measure perceptual similarity, for losses and metrics."""

from .convnext import ConvNeXtLogits
from .frozen_network import FrozenNetwork
from .lpips import LPIPS
from .weights import MissingWeightsError, find_backbone

__all__ = ['LPIPS', 'ConvNeXtLogits', 'FrozenNetwork', 'MissingWeightsError', 'find_backbone']
