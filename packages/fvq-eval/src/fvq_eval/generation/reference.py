"""What samples are compared with: images, or statistics of images that somebody took before."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fvq_core.errors import UserError
from fvq_core.files.hash import file_sha256
from fvq_core.files.json import parse_json
from fvq_core.stamp import image_count

from ..presets.preset import Preset
from ..samples import Samples
from ..samples.npz_file import NpzFile
from ..samples.npz_images import IMAGES, NpzImages
from ..statistics.comparable import check_comparable
from ..statistics.image_set import ImageSetStatistics
from ..statistics.statistics_file import holds_statistics, read_note
from .extraction import StatisticsExtraction


@dataclass(frozen=True)
class Reference:
    """A reference; what is taken of images is None on processes other than the main one.

    Attributes:
        words: What it is, for the stamp of every number that compares with it.
        sha256: Hash of the file of statistics, or of the content of the images.
        statistics: Moments, and features of images if there are any.
        images: The images, if there are any.
        of_images: Statistics of just these images; the same as `statistics`, but for files such as ADM's, whose moments
            are of more images than are listed.
    """

    words: str
    sha256: str
    statistics: ImageSetStatistics | None
    images: Samples | None
    of_images: ImageSetStatistics | None

    @property
    def listed_only_in_part(self) -> bool:
        """Whether the moments are of other images than those listed."""
        return self.images is not None and self.statistics is not self.of_images

    @property
    def cannot_give(self) -> tuple[str, ...]:
        """Scores that it cannot give: the images that ADM's files list are only for precision and recall."""
        return ('kid',) if self.listed_only_in_part else ()


def load_statistics(path: str) -> ImageSetStatistics | None:
    """The statistics in a file; None if it holds only images."""
    is_npz = path.lower().endswith('.npz') and os.path.isfile(path)
    return ImageSetStatistics.load(path) if is_npz and holds_statistics(path) else None


def read_reference(
    path: str, loaded: ImageSetStatistics, extraction: StatisticsExtraction, size: tuple[int, int], preset: Preset
) -> Reference:
    """A file of statistics. Images in it, as in ADM's, are only for scores of neighbours (precision, recall, ...).

    Args:
        path: npz with `mu` and `sigma`, maybe `mu_s` and `sigma_s`, maybe `arr_0`.

    Raises:
        UserError: Another extractor, preset or resolution.
    """
    check_kind(path, loaded, extraction)
    described = describe(read_note(Path(path)))
    check_size(path, (described.get('height', size[0]), described.get('width', size[1])), size)
    stated = described.get('preparation', described.get('preset'))  # the latter in a file of the cache
    if stated is None:
        check_unstated(path, loaded, extraction, preset)
    elif stated != extraction.preparation:
        raise UserError(
            f"{path}: expected statistics taken under '{extraction.preparation}', got '{stated}'; take them "
            'again with --save-stats under this preset.'
        )
    sha256 = file_sha256(path)
    words = f'statistics in {os.path.basename(path)} (sha256 {sha256[:12]})'
    if IMAGES not in NpzFile(path).members:
        return Reference(words, sha256, loaded, None, None)
    images = NpzImages(path)
    check_size(path, (images.height, images.width), size)
    of_images, _ = extraction_for(images, extraction).run(images)
    both = loaded if of_images is None else loaded.with_features_of(of_images)
    return Reference(f'{words}, neighbours among its {image_count(len(images))}', sha256, both, images, of_images)


def extract_reference(
    images: Samples, extraction: StatisticsExtraction, size: tuple[int, int], cut: str = ''
) -> Reference:
    """A set of images.

    Args:
        cut: What the images were cut to, in words; '' if neither side is cut.
    """
    check_size(images.path, (images.height, images.width), size)
    statistics, hashed = extraction_for(images, extraction).run(images)
    words = f'{image_count(len(images))} of {os.path.basename(os.path.normpath(images.path))} (sha256 {hashed[:12]})'
    return Reference(f'{words}, {cut}' if cut else words, hashed, statistics, images, statistics)


def extraction_for(images: Samples, extraction: StatisticsExtraction) -> StatisticsExtraction:
    """The extraction; for a single image one that caches nothing, because a file of statistics holds a covariance."""
    if len(images) > 1:
        return extraction
    options = (extraction.preparation, extraction.kept, extraction.batch_size)
    return StatisticsExtraction(extraction.extractor, *options, folder=None, log=extraction.log)


def check_kind(path: str, loaded: ImageSetStatistics, extraction: StatisticsExtraction) -> None:
    """Raise if statistics are of another network or have another number of features."""
    try:
        check_comparable(loaded, ImageSetStatistics(extraction.extractor, False))
    except UserError as error:
        raise UserError(f'{path}: {error}') from error
    for name, gaussian in loaded.gaussians.items():
        size = extraction.extractor.sizes.get(name)
        if len(gaussian.mean_D) != size:
            raise UserError(
                f'{path}: expected {size} {name} features, as {extraction.extractor.name} has, got {len(gaussian.mean_D)}; '
                'take the statistics again with --save-stats.'
            )


def check_unstated(path: str, loaded: ImageSetStatistics, extraction: StatisticsExtraction, preset: Preset) -> None:
    """Raise if a file does not state how its images were prepared and the preset prepares them differently from ADM.

    Files of other programs, such as ADM's, are of the 2015 Inception network behind its own resize, without a codec.
    """
    other_resize = loaded.fingerprint is None and preset.preprocessing != 'tf1'
    if other_resize or preset.codec is not None:
        raise UserError(
            f"{path}: expected statistics taken under '{extraction.preparation}', got a file that does not state how they were "
            "taken, like ADM's, which use the resize of TensorFlow 1 and no codec; give the images, or statistics of "
            '--save-stats under this preset.'
        )


def check_size(path: str, size: tuple[int, int], wanted: tuple[int, int]) -> None:
    """Raise if a reference has another resolution than the samples."""
    if size != wanted:
        raise UserError(
            f'{path}: expected a reference of {wanted[0]}x{wanted[1]} pixels like the samples, got {size[0]}x{size[1]}; '
            'give the reference of that resolution, or cut image files with tools/evaluate.py --crop.'
        )


def note_of(samples: Samples, extraction: StatisticsExtraction) -> str:
    """What a file of statistics remembers of its images, for `describe`."""
    return json.dumps({'height': samples.height, 'width': samples.width, 'preparation': extraction.preparation})


def describe(note: str | None) -> dict[str, Any]:
    """What `note_of` wrote; empty for a file without a note."""
    try:
        found = parse_json(note or '{}', 'note')
    except UserError:
        return {}
    return found if isinstance(found, dict) else {}
