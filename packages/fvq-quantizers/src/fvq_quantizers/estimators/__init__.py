"""How gradients pass the assignment of a code."""

from .diveq import DiVeQ
from .estimator import Estimator
from .index_backpropagation import IndexBackpropagation
from .rotation_trick import RotationTrick
from .stochastic_mask import StochasticMask
from .straight_through import StraightThrough
from .synchronized import SynchronizedStraightThrough

__all__ = [
    'DiVeQ',
    'Estimator',
    'IndexBackpropagation',
    'RotationTrick',
    'StochasticMask',
    'StraightThrough',
    'SynchronizedStraightThrough',
]
