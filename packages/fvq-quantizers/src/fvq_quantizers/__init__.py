"""Vector quantizers and their axes. Importing the package registers every component."""

from . import distances, estimators, inits, losses, normalizations, projectors, regularizers, updates
from .residual_quantizer import ResidualQuantizer
from .vector_quantizer import VectorQuantizer

__version__ = '0.1.0'
__all__ = [
    'ResidualQuantizer',
    'VectorQuantizer',
    'distances',
    'estimators',
    'inits',
    'losses',
    'normalizations',
    'projectors',
    'regularizers',
    'updates',
]
