"""Image encoders and decoders, one file per family; `layers/` has the blocks that they share."""

from .magvit2 import AdaptiveGroupNormDecoder, MAGVIT2Encoder
from .vqgan import VQGANDecoder, VQGANEncoder

__all__ = ['AdaptiveGroupNormDecoder', 'MAGVIT2Encoder', 'VQGANDecoder', 'VQGANEncoder']
