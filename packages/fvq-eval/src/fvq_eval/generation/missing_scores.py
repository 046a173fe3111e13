"""Why a score is missing: the network, the reference, or too few images."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from fvq_core.stamp import image_count

from ..statistics.conventions import FeatureConventions
from ..statistics.image_set import ImageSetStatistics

FEATURES = {'sfid': 'spatial', 'inception_score': 'logits'}  # the features of scores that do not use `pool`
OF_MOMENTS = ('fid', 'sfid')  # the other scores need the features of single images
NEIGHBOURS = {
    'precision': 'pr_neighbours',
    'recall': 'pr_neighbours',
    'density': 'density_neighbours',
    'coverage': 'density_neighbours',
}


def why_missing(
    names: Sequence[str],
    reference: ImageSetStatistics,
    samples: ImageSetStatistics,
    sizes: Collection[str],
    conventions: FeatureConventions,
    cannot_give: Collection[str] = (),
) -> list[str]:
    """One line for each reason, with the scores that are missing for it.

    Args:
        sizes: Names of the features that the network gives.
    """
    found: dict[str, list[str]] = {}
    for name in names:
        feature = FEATURES.get(name, 'pool')
        needed = getattr(conventions, NEIGHBOURS[name]) + 1 if name in NEIGHBOURS else 2
        if feature not in sizes:
            reason = f'the extractor has no {feature} features'
        elif small := too_small(reference, samples, needed):
            reason = f'too few images, {small}'
        elif name in cannot_give:
            reason = 'the reference lists images only for precision and recall'
        elif name in OF_MOMENTS:
            reason = f'the reference has no statistics of {feature} features'
        else:
            reason = 'the reference is statistics without the features of single images; give the images'
        found.setdefault(reason, []).append(name)
    return [f'{", ".join(scores)}: {reason}' for reason, scores in found.items()]


def too_small(reference: ImageSetStatistics, samples: ImageSetStatistics, needed: int) -> str:
    """Whether samples or reference have fewer images than a score needs, in words; '' if neither."""
    for words, count in (('the samples are', samples.count), ('the reference is', reference.count)):
        if count is not None and count < needed:
            return f'{words} {image_count(count)} and {needed} are needed'
    return ''
