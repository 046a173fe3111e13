"""The result of scoring an image set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fvq_core.metric import MetricValue

from ..presets.image_set_preset import ImageSetPreset


@dataclass
class ScoredImages:
    """Numbers, and what was scored.

    Attributes:
        metrics: Metrics by name.
        classes: Metrics by class, then by name; empty unless asked for.
        preset: The preset as it was applied; None on processes that hold no numbers.
        facts: JSON-ready: the set, its content hash, the reference, the preset.
        notes: One line for each thing that a reader of the numbers should know.
        unsaved: Why the statistics of the samples could not be saved; '' if they were, or were not asked for.
    """

    metrics: dict[str, MetricValue]
    facts: dict[str, Any]
    notes: list[str]
    classes: Mapping[int, dict[str, MetricValue]] = field(default_factory=dict)
    preset: ImageSetPreset | None = None
    unsaved: str = ''
