"""`metrics.json`: what a run or an evaluation leaves behind for reports."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ..config.data import config_data
from ..metric import MetricValue
from ..stamp import versions


def metrics_document(
    metrics: Mapping[str, MetricValue], cfg: Any, seed: int, weights: str, extra: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The contents of `metrics.json`: stamped metrics, config, seed and versions."""
    stamped = {name: {**metric.to_dict(), 'weights': weights} for name, metric in metrics.items()}
    return {
        'metrics': {**stamped, **(extra or {})},
        'config': cfg.filename and os.path.relpath(cfg.filename),
        'resolved_config': config_data(cfg.to_dict()),
        'seed': seed,
        'versions': versions(),
    }
