"""Scores, evaluation protocols and studies. What it registers is imported when first looked up."""

from fvq_core.registry import DATASETS, FEATURE_EXTRACTORS, HOOKS, METRICS, TRANSFORMS

METRICS.add_location(f'{__name__}.metrics')
FEATURE_EXTRACTORS.add_location(f'{__name__}.features')
HOOKS.add_location(f'{__name__}.hooks')
TRANSFORMS.add_location(f'{__name__}.crops')
DATASETS.add_location(f'{__name__}.reports.whole_photos')
DATASETS.add_location(f'{__name__}.benchmark.photo_tiles')
