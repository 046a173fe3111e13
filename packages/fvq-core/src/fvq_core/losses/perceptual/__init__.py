"""Frozen networks that measure perceptual similarity, for losses and metrics."""

from .convnext import ConvNeXtLogits
from .dinov2 import DINOv2Features
from .frozen_network import FrozenNetwork, WithFrozenNetwork
from .lpips import LPIPS
from .stage_features import StageFeatures
from .vit_features import ViTFeatures
from .weights import MissingWeightsError, find_backbone

__all__ = [
    'LPIPS',
    'ConvNeXtLogits',
    'DINOv2Features',
    'FrozenNetwork',
    'MissingWeightsError',
    'StageFeatures',
    'ViTFeatures',
    'WithFrozenNetwork',
    'find_backbone',
]
