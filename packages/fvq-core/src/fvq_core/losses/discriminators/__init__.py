"""Discriminators: images (B, C, H, W) to logits, high for what looks real."""

from .blurred_cnn import BlurredCNN
from .dino import DINODiscriminator
from .patchgan import PatchGAN
from .stylegan import StyleGANDiscriminator

__all__ = ['BlurredCNN', 'DINODiscriminator', 'PatchGAN', 'StyleGANDiscriminator']
