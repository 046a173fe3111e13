"""What a reader of an image set's numbers should know beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fvq_core.metric import MetricValue
from fvq_core.stamp import image_count

from ..features.feature_extractor import FeatureExtractor
from ..presets.preset import Preset
from ..samples import Samples
from ..samples.image_files import ImageFileSamples
from ..statistics.image_set import ImageSetStatistics
from ..statistics.scores import WITHOUT_REFERENCE
from .missing_scores import why_missing
from .reference import Reference
from .score_names import is_wanted


def evaluation_notes(
    samples: Samples,
    statistics: ImageSetStatistics,
    reference: Reference | None,
    network: FeatureExtractor,
    preset: Preset,
    names: Sequence[str],
    found: Mapping[str, MetricValue],
) -> list[str]:
    """One line each: partial sets, another network, missing scores, JPEG files coded twice, and too few images."""
    notes = count_notes(len(samples), preset)
    if network.name != preset.extractor:
        notes.append(f"{network.name} is not the preset's {preset.extractor}: not comparable with it")
    missing = [name for name in names if not any(is_wanted(key, [name]) for key in found)]
    if missing and reference is None:
        needing = [name for name in missing if name not in WITHOUT_REFERENCE]
        notes += [f'no --reference: left out {", ".join(needing)}'] if needing else []
        notes += [f'{name}: the extractor has no logits features' for name in missing if name not in needing]
    elif reference is not None and reference.statistics is not None and missing:
        notes += why_missing(
            missing, reference.statistics, statistics, network.sizes, preset.features, reference.cannot_give
        )
    both = [samples, *([reference.images] if reference is not None and reference.images is not None else [])]
    coded = dict.fromkeys(each.path for each in both if preset.codec is not None and holds_jpeg(each))
    notes += [
        f'{path} holds JPEG files, which {preset.name} compresses again, as it does every image' for path in coded
    ]
    few = [name for name, value in found.items() if value.too_few]
    if few:
        notes.append(f'too few images for {", ".join(few)}: see the protocol of each')
    return notes


def count_notes(count: int, preset: Preset) -> list[str]:
    """How many images there are and how many a whole evaluation has, if these differ."""
    user = preset.samples_from == 'user'
    if count < preset.samples:
        requires = 'the whole set is declared as' if user else 'the preset requires'
        return [f'partial: {image_count(count)}, {requires} {preset.samples:,}']
    of = 'that the whole set is declared as' if user else 'of the preset'
    return [f'{image_count(count)}, more than the {preset.samples:,} {of}'] if count > preset.samples else []


def holds_jpeg(images: Samples) -> bool:
    """Whether the names of a set's files say that any is a JPEG."""
    if not isinstance(images, ImageFileSamples):
        return False
    return any(images.dataset.name(number).lower().endswith(('.jpg', '.jpeg')) for number in range(len(images)))
