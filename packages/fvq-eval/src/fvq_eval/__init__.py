"""Scores, protocols and studies. Importing the package registers every metric, feature extractor and evaluator."""

from fvq_core.registry import HOOKS

from . import features, generation, metrics, reconstruction

__version__ = '0.2.0'
__all__ = ['features', 'generation', 'metrics', 'reconstruction']

HOOKS.add_location(f'{__name__}.hooks')  # imported when hooks are first read: only training needs them
