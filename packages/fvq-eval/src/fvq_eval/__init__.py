"""Metrics and protocols. Importing the package registers every metric, feature extractor and evaluator."""

from . import features, generation, metrics, reconstruction

__version__ = '0.2.0'
__all__ = ['features', 'generation', 'metrics', 'reconstruction']
