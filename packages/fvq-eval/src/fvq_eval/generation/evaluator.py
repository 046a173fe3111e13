"""A set of images against a reference under a preset."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import is_main_process

from fvq_core.errors import UserError
from fvq_core.metric import MetricValue
from fvq_core.registry import FEATURE_EXTRACTORS
from fvq_core.stamp import image_count

from ..features.feature_extractor import FeatureExtractor
from ..presets import find_preset
from ..presets.feature_input import for_image_sets, preparation
from ..presets.image_set_preset import AS_THEY_ARE, ImageSetPreset
from ..presets.preset import Crop, Preset
from ..samples import Samples, open_samples
from ..samples.bundled import BUNDLED, BundledSamples
from ..samples.image_files import ImageFileSamples
from ..statistics.image_set import ImageSetStatistics
from ..statistics.scores import WITHOUT_REFERENCE, compare
from .extraction import StatisticsExtraction, check_batch_size
from .notes import evaluation_notes
from .reference import (
    Reference,
    check_size,
    extract_reference,
    extraction_for,
    load_statistics,
    note_of,
    read_reference,
)
from .score_names import check_scores, features_needed, groups, is_wanted, scores_of
from .scored import ScoredImages
from .statistics_checkpoint import SAVE_EVERY

NEIGHBOURS = ('precision', 'recall', 'density', 'coverage')
UNCUT = 'pixels as the files hold them'


class ImageSetEvaluator:
    """Scores the pixels of image files as they are: nothing is resized or rounded, unless a crop is asked for.

    The network is built last, because it may have to be downloaded: errors in the images are reported first.

    A preset with a codec encodes samples and reference in memory, after the crop, whatever files they come from.

    Args:
        extractor: Config of a component of `FEATURE_EXTRACTORS` instead of the preset's.
        metrics: Names of scores instead of the preset's; see `score_names`.
        classes: Also score each class against the reference's images of that class.
        crop: Side in pixels of squares that image files are cut to by the preset's crop; None takes them as they are.
        images: Images of a whole evaluation instead of the preset's number.
        convert: Make greyscale, palette, CMYK and opaque RGBA files RGB instead of refusing them.
        batch_size: Images that the network sees at a time; it changes no printed digit.
        cache: Folder for statistics; `'default'` is `fvq/statistics` in the user's cache folder, None keeps none.
        save_every: Seconds between saves of unfinished statistics.
        log: Called with a line whenever results of an earlier run are used.

    Raises:
        UserError: An unknown preset or score, or a batch size below 1.
    """

    def __init__(
        self,
        preset: str = 'adm',
        extractor: Mapping[str, Any] | None = None,
        metrics: Sequence[str] | None = None,
        classes: bool = False,
        crop: int | None = None,
        images: int | None = None,
        convert: bool = False,
        batch_size: int = 64,
        workers: int = 4,
        device: str | torch.device = 'cpu',
        cache: str | None = 'default',
        save_every: float = SAVE_EVERY,
        log: Callable[[str], Any] = print,
    ) -> None:
        self.preset: Preset = find_preset(preset).at(samples=images)
        self.names = tuple(metrics or scores_of(self.preset.features.metrics))
        check_scores(self.names)
        check_batch_size(batch_size)
        self.classes, self.convert, self.workers = classes, convert, workers
        self.crop = None if crop is None else self.preset.at(size=crop).crop
        self.extractor, self.device = extractor or dict(type='InceptionV3'), device
        self.extraction_options: dict[str, Any] = dict(
            batch_size=batch_size, folder=cache_folder(cache), log=log, save_every=save_every
        )

    @cached_property
    def extraction(self) -> StatisticsExtraction:
        """Takes statistics with the network, which is built when it is first needed."""
        network: FeatureExtractor = FEATURE_EXTRACTORS.build(self.extractor)
        kept = features_needed(self.names) | ({'pool'} if self.classes else set())
        built = for_image_sets(network, self.preset).to(self.device)
        return StatisticsExtraction(built, preparation(network, self.preset), kept, **self.extraction_options)

    def evaluate(self, samples: str, reference: str | None = None, save_statistics: str | None = None) -> ScoredImages:
        """Score a set; on processes other than the main one the result is empty.

        Args:
            samples: See `open_samples`.
            reference: The same, or an npz of statistics; without one, only scores that need none are given.
            save_statistics: File to write the statistics of the samples to.

        Raises:
            UserError: Bad input, by name; what is done is kept for the next start.
        """
        made, real, loaded = self.open(samples), None, None
        if reference == BUNDLED and self.crop is None:
            raise UserError(f'--reference {BUNDLED}: expected a size, got none; set it with --crop {made.height}.')
        if reference is not None:
            loaded = load_statistics(reference)
            if loaded is None:
                real = self.open(reference)
                check_size(real.path, (real.height, real.width), (made.height, made.width))
        self.check_classes(made, real, reference)
        if save_statistics is not None and len(made) < 2:
            raise UserError(f'{made.path}: expected two or more images to save statistics of, got 1; give more images.')
        against, size = None, (made.height, made.width)
        if real is not None:
            cut = cut_words(real, self.crop) if self.crop else ''
            against = extract_reference(real, self.extraction, size, cut)
        elif reference is not None and loaded is not None:
            against = read_reference(reference, loaded, self.extraction, size, self.preset)
        if self.classes and against is not None and against.images is not None:
            against.images.labels()
        statistics, hashed = extraction_for(made, self.extraction).run(made)
        if statistics is None or not is_main_process():
            return ScoredImages({}, {}, [])
        words = self.words(made)
        applied = self.applied(made, against)
        facts = {**self.facts(made, hashed, reference, against), 'preset': applied.to_dict()}
        names = [name for name in self.names if against is None or name not in against.cannot_give]
        both = (None if against is None else against.statistics, statistics)
        compared = '' if against is None else against.words
        found = self.compare(*both, names, f'{self.preset.declared}{words}', compared)
        scored = ScoredImages(found, facts, [], preset=applied)
        scored.notes += evaluation_notes(
            made, statistics, against, self.extraction.extractor, self.preset, self.names, scored.metrics
        )
        if self.classes and against is not None:
            scored.classes, more = self.class_scores(made, statistics, against, words)
            scored.notes += more
        if save_statistics is not None:
            try:
                statistics.save(save_statistics, note=note_of(made, self.extraction))
            except UserError as error:  # the numbers are whole all the same
                scored.unsaved = f'--save-stats {error}'
        return scored

    def open(self, path: str) -> Samples:
        """A set of images."""
        return open_samples(path, self.convert, self.crop.config() if self.crop else None, self.workers)

    def check_classes(self, made: Samples, real: Samples | None, reference: str | None) -> None:
        """Raise if classes are asked for and a set has none, before hours are spent."""
        if not self.classes:
            return
        if reference is None:
            raise UserError('--classes: expected a reference with classes, got none; name one with --reference.')
        made.labels()
        if real is not None:
            real.labels()

    def words(self, made: Samples) -> str:
        """What was done to the pixels of the samples, for the protocol."""
        converted = f', {image_count(made.converted)} converted to RGB' if made.converted else ''
        return f'{cut_words(made, self.crop)}, {made.height}x{made.width}{converted}; {self.extraction.extractor.preprocessing}'

    def compare(
        self,
        reference: ImageSetStatistics | None,
        made: ImageSetStatistics,
        names: Sequence[str],
        protocol: str,
        against: str = '',
    ) -> dict[str, MetricValue]:
        """`compare` for some scores."""
        conventions = replace(self.preset.features, metrics=groups(names))
        found = compare(reference, made, conventions, self.preset.name, protocol, against, self.preset.samples)
        return {key: value for key, value in found.items() if is_wanted(key, names)}

    def class_scores(
        self, made: Samples, statistics: ImageSetStatistics, against: Reference, words: str
    ) -> tuple[dict[int, dict[str, MetricValue]], list[str]]:
        """The values of each class with two images in samples and reference, and a line for the classes left out."""
        if against.images is None or against.of_images is None:
            raise UserError('--classes: expected a reference with images, got only statistics; give the images.')
        names = [name for name in self.names if name not in WITHOUT_REFERENCE]
        if against.listed_only_in_part:  # too few of a class for anything but what they are listed for
            names = [name for name in names if name in NEIGHBOURS]
        classes, left_out = {}, []
        for label in np.unique(made.labels()).tolist():
            of_samples, of_reference = (np.flatnonzero(each.labels() == label) for each in (made, against.images))
            if min(len(of_samples), len(of_reference)) < 2:
                left_out.append(label)
                continue
            protocol = f'{self.preset.declared}class {label} only; {words}'
            both = (against.of_images.subset(of_reference), statistics.subset(of_samples))
            classes[label] = self.compare(*both, names, protocol, against.words)
        listed = ', '.join(map(str, left_out[:10])) + (', ...' if len(left_out) > 10 else '')
        note = f'classes without a number, because samples or reference have fewer than two of their images: {listed}'
        return classes, [note] if left_out else []

    def applied(self, made: Samples, against: Reference | None) -> ImageSetPreset:
        """The preset as it was applied."""
        crop, preset, network = cut_words(made, self.crop), self.preset, self.extraction.extractor
        return ImageSetPreset(
            name=preset.name,
            source=preset.source,
            crop=AS_THEY_ARE if crop == UNCUT else crop.removeprefix('cut: '),
            codec=preset.codec,
            reference=None if against is None else against.words,
            extractor=network.name,
            preprocessing=network.preprocessing,
            features=replace(preset.features, metrics=groups(self.names)),
            samples=preset.samples,
            samples_from=preset.samples_from,
        )

    def facts(self, made: Samples, hashed: str, reference: str | None, against: Reference | None) -> dict[str, Any]:
        """What was scored, and with what, JSON-ready."""
        return {
            'samples': made.path,
            'samples_sha256': hashed,
            'images': len(made),
            'resolution': [made.height, made.width],
            'reference': reference,
            'reference_is': None if against is None else against.words,
            'reference_sha256': None if against is None else against.sha256,
            'extractor': self.extraction.extractor.name,
            'extractor_sha256': self.extraction.extractor.fingerprint,
        }


def cut_words(images: Samples, crop: Crop | None) -> str:
    """What the files of a set were cut to; an npz is never cut, and the bundled crops have their size."""
    if isinstance(images, BundledSamples):
        return 'crops of the bundled photos'
    return f'cut: {crop}' if crop is not None and isinstance(images, ImageFileSamples) else UNCUT


def cache_folder(cache: str | None) -> Path | None:
    """The folder of cached statistics."""
    if cache != 'default':
        return None if cache is None else Path(cache)
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'fvq' / 'statistics'
