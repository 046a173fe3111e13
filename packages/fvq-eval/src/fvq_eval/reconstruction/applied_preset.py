"""Presets as they are applied to a tokenizer: with the network and the reference that are really used."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..features.feature_extractor import FeatureExtractor
from ..generation.extraction import StatisticsExtraction
from ..generation.reference import Reference, read_reference
from ..generation.score_names import features_needed, groups, scores_of
from ..presets.feature_input import preparation, prepared
from ..presets.preset import Preset
from ..statistics.image_set import ImageSetStatistics


def read_references(
    path: str | None, presets: Sequence[Preset], network: FeatureExtractor, batch_size: int, cache: Path | None
) -> dict[str, Reference]:
    """What each preset with a reference of its own compares with, by its name, checked as `tools/evaluate.py` does."""
    found: dict[str, Reference] = {}
    if path is None:
        return found
    loaded = ImageSetStatistics.load(path)
    for preset in (each for each in presets if each.reference == 'external'):
        built, side = prepared(network, preset.preprocessing), preset.crop.size
        kept = features_needed(scores_of(preset.features.metrics))
        extraction = StatisticsExtraction(built, preparation(network, preset), kept, batch_size, cache)
        found[preset.name] = read_reference(path, loaded, extraction, (side, side), preset)
    return found


def applied(preset: Preset, network: FeatureExtractor | None, reference: Reference | None) -> Preset:
    """A preset with the network and the external reference that are used; without a network, without scores of features."""
    if network is None:
        return replace(preset, extractor='none', preprocessing='none', features=replace(preset.features, metrics=()))
    words = preset.reference_words
    if preset.reference == 'external':
        words = f'none was named, it needs {words}' if reference is None else reference.words
    return replace(preset, extractor=network.name, reference_words=words)


def computed(preset: Preset, missing: Collection[str], preprocessing: str) -> Preset:
    """A preset with the scores of features that were computed, and how pixels reached the network, in words."""
    given = groups([name for name in scores_of(preset.features.metrics) if name not in missing])
    return replace(preset, features=replace(preset.features, metrics=given), preprocessing=preprocessing)


def without(preset: Preset, config: Mapping[str, Any]) -> Preset:
    """A preset without one of its metrics of images, an entry of `Preset.metric_configs`."""
    match config['type']:
        case 'MSSSIM':
            return replace(preset, ms_ssim=False)
        case 'SSIM':
            return replace(preset, ssim=None)
        case 'PSNR':
            return replace(preset, psnr=tuple(each for each in preset.psnr if each != config['conventions']))
        case _:
            return replace(preset, lpips=tuple(each for each in preset.lpips if each != config['conventions']))


def number_name(config: Mapping[str, Any]) -> str:
    """What the number of a metric of images, an entry of `Preset.metric_configs`, is called."""
    names = {'MSSSIM': 'ms_ssim', 'SSIM': 'ssim', 'PSNR': 'psnr'}
    return names.get(config['type']) or f'lpips_{config["conventions"].net}'
