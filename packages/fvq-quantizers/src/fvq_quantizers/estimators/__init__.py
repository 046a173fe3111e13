"""How gradients pass the choice of a code."""

from .estimator import Estimator
from .index_backpropagation import IndexBackpropagation
from .straight_through import StraightThrough

__all__ = ['Estimator', 'IndexBackpropagation', 'StraightThrough']
