"""Scores, evaluation protocols and studies. Metrics, feature extractors and hooks are imported when first looked up."""

from fvq_core.registry import FEATURE_EXTRACTORS, HOOKS, METRICS

__version__ = '0.2.0'

METRICS.add_location(f'{__name__}.metrics')
FEATURE_EXTRACTORS.add_location(f'{__name__}.features')
HOOKS.add_location(f'{__name__}.hooks')
