"""What is kept of a set of images, and the numbers that two such sets give."""

from .cache import StatisticsCache
from .image_set import ImageSetStatistics
from .moments import Gaussian, Moments
from .scores import FeatureConventions, compare

__all__ = ['FeatureConventions', 'Gaussian', 'ImageSetStatistics', 'Moments', 'StatisticsCache', 'compare']
