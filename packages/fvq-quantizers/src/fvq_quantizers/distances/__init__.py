"""What makes a code the best one for a latent."""

from .distance import Distance
from .dot_product import DotProduct
from .optimal_transport import OptimalTransport
from .squared_l2 import SquaredL2

__all__ = ['Distance', 'DotProduct', 'OptimalTransport', 'SquaredL2']
