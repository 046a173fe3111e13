"""Whether latents and codes are l2-normalized, and for what: everything, or only the search."""

from .cosine_search import CosineSearch
from .l2_normalize import L2Normalize
from .no_normalization import NoNormalization

__all__ = ['CosineSearch', 'L2Normalize', 'NoNormalization']
