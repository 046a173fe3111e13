"""What scoring an image set gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fvq_core.metric import MetricValue

from ..presets.image_set_preset import ImageSetPreset


@dataclass
class ScoredImages:
    """Numbers and what they are of.

    Attributes:
        metrics: By name.
        classes: By class, then by name; empty unless asked for.
        preset: As it was applied; None where the numbers are another process's.
        facts: JSON-ready: the set, its content hash, the reference, the preset.
        notes: One line for each thing that a reader of the numbers should know.
        unsaved: Why the samples' statistics could not be saved; empty where they were, or nobody asked for it.
    """

    metrics: dict[str, MetricValue]
    facts: dict[str, Any]
    notes: list[str]
    classes: Mapping[int, dict[str, MetricValue]] = field(default_factory=dict)
    preset: ImageSetPreset | None = None
    unsaved: str = ''
