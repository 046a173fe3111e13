"""Decoders: features (B, z_channels, h, w) to images (B, 3, h*f, w*f)."""

from .adaptive_group_norm_decoder import AdaptiveGroupNormDecoder
from .vqgan_decoder import VQGANDecoder

__all__ = ['AdaptiveGroupNormDecoder', 'VQGANDecoder']
