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


def read_references(
    path: str | None, presets: Sequence[Preset], network: FeatureExtractor, batch_size: int, cache: Path | None
) -> dict[str, Reference]:
    """What each preset with a reference of its own compares with, by its name, checked as `tools/evaluate.py` does.

    Args:
        path: File of statistics; None for none.
        presets: All.
        network: On its device.
        batch_size: Images that it sees at a time, of those that a file such as ADM's lists.
        cache: Where statistics of these are kept.

    Raises:
        UserError: Another network, preset or resolution.
    """
    found: dict[str, Reference] = {}
    for preset in presets:
        if path is not None and preset.reference == 'external':
            built, side = prepared(network, preset.preprocessing), preset.crop.size
            kept = features_needed(scores_of(preset.features.metrics))
            extraction = StatisticsExtraction(built, preparation(network, preset), kept, batch_size, cache)
            found[preset.name] = read_reference(path, extraction, side, side, preset)
    return found


def applied(preset: Preset, network: FeatureExtractor | None, reference: Reference | None) -> Preset:
    """A preset with the network and reference that are used.

    Args:
        preset: As declared.
        network: What features are taken with; None for no features.
        reference: What a preset with an external reference compares with, if anything.
    """
    if network is None:
        return replace(preset, extractor='none', preprocessing='none', features=replace(preset.features, metrics=()))
    words = preset.reference_words
    if preset.reference == 'external':
        words = f'none was named, it needs {words}' if reference is None else reference.words
    return replace(preset, extractor=network.name, reference_words=words)


def computed(preset: Preset, missing: Collection[str], preprocessing: str) -> Preset:
    """A preset with the scores of features that were computed.

    Args:
        preset: As it is applied.
        missing: Scores that it should give and that could not be had.
        preprocessing: How pixels reached the network, in words.
    """
    given = groups([name for name in scores_of(preset.features.metrics) if name not in missing])
    return replace(preset, features=replace(preset.features, metrics=given), preprocessing=preprocessing)


def without(preset: Preset, config: Mapping[str, Any]) -> Preset:
    """A preset without one of its metrics of images.

    Args:
        preset: As it is.
        config: An entry of `Preset.metric_configs`.
    """
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
    """What the number of a metric of images is called.

    Args:
        config: An entry of `Preset.metric_configs`.
    """
    names = {'MSSSIM': 'ms_ssim', 'SSIM': 'ssim', 'PSNR': 'psnr'}
    return names.get(config['type']) or f'lpips_{config["conventions"].net}'
