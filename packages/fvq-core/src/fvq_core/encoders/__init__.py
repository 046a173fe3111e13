"""Encoders: images (B, 3, H, W) to features (B, out_channels, H/f, W/f)."""

from .magvit2_encoder import MAGVIT2Encoder
from .vqgan_encoder import VQGANEncoder

__all__ = ['MAGVIT2Encoder', 'VQGANEncoder']
