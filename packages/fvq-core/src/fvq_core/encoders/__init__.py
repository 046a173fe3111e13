"""Encoders: images (B, 3, H, W) to features (B, out_channels, H/f, W/f)."""

from .vqgan_encoder import VQGANEncoder

__all__ = ['VQGANEncoder']
