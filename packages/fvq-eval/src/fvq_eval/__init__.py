"""Metrics and protocols. Importing the package registers every metric, feature extractor and evaluator."""

from . import features, generation, metrics, reconstruction

__version__ = '0.1.0'
__all__ = ['features', 'generation', 'metrics', 'reconstruction']
