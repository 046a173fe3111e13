"""Distances between sets of feature vectors: pure functions, each equal to the published code it follows."""

from .density_coverage import density_coverage
from .frechet import frechet_distance, square_root_factor
from .inception_score import inception_score
from .kernel import kernel_distance, kernel_distance_of_all
from .precision_recall import precision_recall

__all__ = [
    'density_coverage',
    'frechet_distance',
    'inception_score',
    'kernel_distance',
    'kernel_distance_of_all',
    'precision_recall',
    'square_root_factor',
]
