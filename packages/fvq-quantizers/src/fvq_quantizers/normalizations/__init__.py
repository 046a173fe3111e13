"""Which sides are l2-normalised, and for what: everything, or the search alone."""

from .cosine_search import CosineSearch
from .l2_normalize import L2Normalize
from .no_normalization import NoNormalization

__all__ = ['CosineSearch', 'L2Normalize', 'NoNormalization']
