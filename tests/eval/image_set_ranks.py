"""The same evaluation by one process or by two."""

from __future__ import annotations

import pytest

from fvq_core.errors import UserError
from fvq_eval.generation import ImageSetEvaluator

RANDOM = dict(type='RandomFeatures', pool=64, spatial=48, logits=20)


def scores(made: str, real: str) -> dict[str, float]:
    """What this process gets."""
    evaluator = ImageSetEvaluator(preset='strict', extractor=RANDOM, cache=None)
    return {name: metric.value for name, metric in evaluator.evaluate(made, real).metrics.items()}


def scores_on_rank(rank: int, made: str, real: str) -> dict[str, float]:
    """What one of two processes gets."""
    return scores(made, real)


def error_on_rank(rank: int, made: str, cache: str) -> str:
    """The error of one of two processes, whose evaluation stops."""
    evaluator = ImageSetEvaluator(preset='strict', extractor=RANDOM, metrics=['inception_score'], cache=cache)
    with pytest.raises(UserError) as error:
        evaluator.evaluate(made)
    return str(error.value)
