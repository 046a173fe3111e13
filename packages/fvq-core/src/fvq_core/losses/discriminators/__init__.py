"""Discriminators: images (B, C, H, W) to logits, high for what looks real."""

from .patchgan import PatchGAN
from .stylegan import StyleGANDiscriminator

__all__ = ['PatchGAN', 'StyleGANDiscriminator']
