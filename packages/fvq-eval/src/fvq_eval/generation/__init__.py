"""Image sets scored against a reference under a preset: how any generator gets its row."""

from .evaluator import ImageSetEvaluator
from .scored import ScoredImages

__all__ = ['ImageSetEvaluator', 'ScoredImages']
