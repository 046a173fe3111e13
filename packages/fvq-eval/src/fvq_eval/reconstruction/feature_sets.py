"""Statistics of features of originals and reconstructions, each distinct set once however many presets share it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from torch import Tensor

from fvq_core.metric import MetricValue

from ..features.feature_extractor import FeatureExtractor
from ..generation.missing_scores import why_missing
from ..generation.reference import Reference
from ..generation.score_names import features_needed, is_wanted, scores_of
from ..metrics.rounding import Rounding
from ..presets.feature_input import prepared
from ..presets.preset import Crop, Preset
from ..statistics.image_set import ImageSetStatistics
from ..statistics.scores import compare


class SetKey(NamedTuple):
    """What makes a set of features: two presets that agree on all of it share the set."""

    original: bool
    crop: Crop
    rounding: Rounding
    codec: str | None
    preprocessing: str


def set_key(preset: Preset, original: bool) -> SetKey:
    """The set of one side. Originals have 8 bits: all roundings leave them alike, but the one that cuts off."""
    rounding = preset.rounding if not original or preset.rounding == 'truncate' else 'round'
    return SetKey(original, preset.crop, rounding, preset.codec, preset.preprocessing)


class FeatureSets:
    """Streams images into the sets of some presets.

    Args:
        external: What presets with a reference of their own compare with, by their names.
    """

    def __init__(self, presets: Sequence[Preset], network: FeatureExtractor, external: Mapping[str, Reference]) -> None:
        self.external, self.network = external, network
        self.examples: dict[SetKey, Preset] = {}
        kept: dict[SetKey, set[str]] = {}
        for preset in presets:
            for original in (False, True) if preset.reference == 'originals' else (False,):
                key = set_key(preset, original)
                self.examples[key] = preset
                kept.setdefault(key, set()).update(features_needed(scores_of(preset.features.metrics)))
        self.sets = {
            key: ImageSetStatistics(prepared(network, key.preprocessing), kept[key] & set(network.sizes))
            for key in kept
        }

    def update(self, crop: Crop, images_BCHW: Tensor, reconstructions_BCHW: Tensor, numbers_B: Tensor) -> None:
        """Add a batch of a crop: originals and reconstructions in [-1, 1], and the images' positions in the whole set."""
        for key, statistics in self.sets.items():
            if key.crop == crop:
                images = images_BCHW if key.original else reconstructions_BCHW
                statistics.update(self.examples[key].pixels(images, key.original), numbers_B)

    def reduce(self) -> None:
        """Bring the shares of all ranks together."""
        for statistics in self.sets.values():
            statistics.reduce()

    def preprocessing(self, preset: Preset) -> str:
        """How pixels reach the network under a preset, in words."""
        return prepared(self.network, preset.preprocessing).preprocessing

    def reference(self, preset: Preset) -> ImageSetStatistics | None:
        """What a preset compares with."""
        if preset.reference == 'originals':
            return self.sets[set_key(preset, True)]
        external = self.external.get(preset.name)
        return None if external is None else external.statistics

    def cannot_give(self, preset: Preset) -> tuple[str, ...]:
        """Scores that a preset's reference is not made for."""
        external = self.external.get(preset.name)
        return () if external is None else external.cannot_give

    def reasons(self, preset: Preset, missing: Sequence[str]) -> list[str]:
        """Why scores are missing, one line for each reason; none without a reference."""
        reference, samples = self.reference(preset), self.sets[set_key(preset, False)]
        if reference is None:
            return []
        return why_missing(missing, reference, samples, self.network.sizes, preset.features, self.cannot_give(preset))

    def scores(self, preset: Preset) -> tuple[dict[str, MetricValue], list[str]]:
        """What a preset gives of its sets, and the names of the scores that it should give and these sets cannot.

        A distance to the originals is called `rfid`, or `rfd_` and the network.
        """
        samples, own = self.sets[set_key(preset, False)], preset.reference == 'originals'
        left = self.cannot_give(preset)
        metrics = tuple(metric for metric in preset.features.metrics if metric not in left)
        stamp = (preset.name, preset.protocol(self.preprocessing(preset)), preset.reference_words, preset.samples)
        found = compare(self.reference(preset), samples, replace(preset.features, metrics=metrics), *stamp)
        wanted = scores_of(preset.features.metrics)
        missing = [name for name in wanted if not any(is_wanted(key, [name]) for key in found)]
        return {named(key, own): value for key, value in found.items()}, missing


def named(key: str, reconstruction: bool) -> str:
    """What a score is called: `fid` of reconstructions to their originals is `rfid`."""
    return f'r{key}' if reconstruction and (key == 'fid' or key.startswith('fd_')) else key
