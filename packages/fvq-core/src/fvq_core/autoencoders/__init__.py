"""Encoders and decoders of images, one family of networks a file."""

from .magvit2 import AdaptiveGroupNormDecoder, MAGVIT2Encoder
from .vqgan import VQGANDecoder, VQGANEncoder

__all__ = ['AdaptiveGroupNormDecoder', 'MAGVIT2Encoder', 'VQGANDecoder', 'VQGANEncoder']
