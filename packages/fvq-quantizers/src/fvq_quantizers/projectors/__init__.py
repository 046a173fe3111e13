"""Projectors: raw codebook (K, source_dim) to mapped codebook (K, D), trained and then folded away."""

from .affine import AffineProjector
from .codebook_transformer import CodebookTransformer
from .dit_bridge import DiTBridge
from .identity import IdentityProjector
from .linear import LinearProjector
from .mlp import MLPProjector
from .vqbridge import VQBridge

__all__ = [
    'AffineProjector',
    'CodebookTransformer',
    'DiTBridge',
    'IdentityProjector',
    'LinearProjector',
    'MLPProjector',
    'VQBridge',
]
