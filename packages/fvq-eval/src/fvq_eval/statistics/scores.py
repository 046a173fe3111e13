"""The numbers that two image sets give, each stamped with what it takes to compare it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.metric import MetricValue

from ..distances import (
    density_coverage,
    frechet_distance,
    inception_score,
    kernel_distance,
    kernel_distance_of_all,
    precision_recall,
)
from .conventions import ADM, TORCH_FIDELITY, FeatureConventions
from .image_set import INCEPTION, ImageSetStatistics, check_comparable
from .moments import Gaussian

__all__ = ['ADM', 'TORCH_FIDELITY', 'WITHOUT_REFERENCE', 'FeatureConventions', 'compare']

WITHOUT_REFERENCE = ('inception_score',)  # metrics that are of the samples alone
# Images a split of the Inception score, at least. The mean distribution over the network's 1,008 classes is taken within a
# split, so the score can never exceed the number of its images, and of fewer images than classes it comes out far too low.
# Published scores have splits of 5,000: ADM's, and torch-fidelity's 10 of 50,000.
LEAST_OF_SPLIT = 1000


def compare(
    reference: ImageSetStatistics | None,
    samples: ImageSetStatistics,
    conventions: FeatureConventions,
    protocol: str,
    against: str = '',
) -> dict[str, MetricValue]:
    """Every number of the conventions that the two sets can give.

    With the 2015 Inception network: `fid`, `sfid`, `kid`, `kid_std`, `kid_all` (from all images at once),
    `inception_score`, `inception_score_std`, `precision`, `recall`, `density`, `coverage`. With another network the
    names cannot be mistaken: `fd_NAME`, `sfd_NAME`, `kd_NAME`, `is_NAME`, `precision_NAME` and so on. What a set lacks is
    left out: features of single images where they were not kept, everything but the Inception score without a reference.
    Sets that are too small for a number still give it, and its protocol says what is wrong with it; what they are too small
    for to have any value is left out, such as every distance of a single image.

    Args:
        reference: The real images, or None.
        samples: The generated or reconstructed images.
        conventions: The choices that are free.
        protocol: The preset that pixels and choices come from; every stamp starts with it.
        against: What the reference is, in words; the stamps of scores that compare with it say it, and no other.

    Raises:
        UserError: The sets are of different networks.
    """
    if reference is not None:
        check_comparable(reference, samples)
    results: dict[str, MetricValue] = {}
    for metric in conventions.metrics:
        compared = f'{protocol}; against {against}' if against and metric not in WITHOUT_REFERENCE else protocol
        results |= SCORES[metric](reference, samples, conventions, compared)
    return results


def stamp(
    value: float, details: str, reference: ImageSetStatistics | None, samples: ImageSetStatistics, protocol: str
) -> MetricValue:
    """The number, with protocol, details, both sets and the network in words."""
    parts = [protocol, details]
    if reference is not None:
        parts.append(f'reference of {"an unstated number of" if reference.count is None else reference.count} images')
        if reference.fingerprint != samples.fingerprint:
            parts.append(f'reference statistics from {reference.provenance}')
    return MetricValue(value, '', '; '.join([*parts, samples.provenance]), samples.count or 0)


def key(name: str, other: str, samples: ImageSetStatistics) -> str:
    """`name` is for the 2015 Inception network alone; another gives `other` and its own name."""
    return name if samples.extractor_name in (INCEPTION, None) else f'{other}_{samples.extractor_name}'


def frechet(feature: str, name: str, other: str) -> Callable[..., dict[str, MetricValue]]:
    """The Frechet distance in one feature as a function of the two sets."""

    def score(
        reference: ImageSetStatistics | None,
        samples: ImageSetStatistics,
        conventions: FeatureConventions,
        protocol: str,
    ) -> dict[str, MetricValue]:
        a = gaussian_of(reference, feature)
        b = None if a is None else gaussian_of(samples, feature)
        if a is None or b is None:
            return {}
        value = frechet_distance(a.mean_D, a.covariance_DD, b.mean_D, b.covariance_DD, a.factor)
        details = f'Frechet distance of {len(a.mean_D)} {feature} features, float64' + too_few(a, 'reference')
        return {key(name, other, samples): stamp(value, details + too_few(b, 'sample'), reference, samples, protocol)}

    return score


def gaussian_of(statistics: ImageSetStatistics | None, feature: str) -> Gaussian | None:
    """Mean and covariance of a feature; None where a set lacks it or has fewer than two images."""
    moments = None if statistics is None else statistics.moments.get(feature)
    if statistics is None or (moments is not None and moments.count < 2):
        return None
    return statistics.gaussian(feature)


def too_few(gaussian: Gaussian, kind: str) -> str:
    """What a covariance from too few images must say."""
    D, N = len(gaussian.mean_D), gaussian.count
    if N is None or N > D:
        return ''
    return f'; TOO FEW {kind} images: a covariance of {D} dimensions from {N} images has rank {N - 1} at most'


def kid(
    reference: ImageSetStatistics | None, samples: ImageSetStatistics, conventions: FeatureConventions, protocol: str
) -> dict[str, MetricValue]:
    pair = features_of_both(reference, samples, least=2)
    if pair is None:
        return {}
    real_ND, made_MD = pair
    size = min(conventions.kid_subset_size, len(real_ND), len(made_MD))
    kernel = (
        f'kernel (x.y / {real_ND.shape[1]} + {conventions.kid_coef0:g})^{conventions.kid_degree}, unbiased, float64'
    )
    drawn = f'{conventions.kid_subsets} subsets of {size}, seed {conventions.kid_seed}, {kernel}'
    if size < conventions.kid_subset_size:
        drawn += f'; TOO FEW images for subsets of {conventions.kid_subset_size}'
    mean, deviation = kernel_distance(
        real_ND,
        made_MD,
        conventions.kid_subsets,
        size,
        conventions.kid_degree,
        coef0=conventions.kid_coef0,
        seed=conventions.kid_seed,
    )
    everything = kernel_distance_of_all(real_ND, made_MD, conventions.kid_degree, coef0=conventions.kid_coef0)
    name = key('kid', 'kd', samples)
    found = {name: stamp(mean, f'mean over {drawn}', reference, samples, protocol)}
    if size < max(len(real_ND), len(made_MD)):  # else every subset is the whole set, and nothing varies
        found[f'{name}_std'] = stamp(deviation, f'deviation over {drawn}', reference, samples, protocol)
    found[f'{name}_all'] = stamp(everything, f'all images at once, {kernel}', reference, samples, protocol)
    return found


def score_of_samples(
    reference: ImageSetStatistics | None, samples: ImageSetStatistics, conventions: FeatureConventions, protocol: str
) -> dict[str, MetricValue]:
    logits_NC = samples.logits
    if logits_NC is None or not len(logits_NC):
        return {}
    N, splits, size = len(logits_NC), conventions.is_splits, conventions.is_split_size
    details = f'{conventions.is_dtype}, logits without bias'
    if conventions.logit_bias:
        if samples.logit_bias_C is None:
            raise UserError(f'{samples.extractor_name}: logit_bias=True, but this network has no bias; use False.')
        logits_NC = logits_NC + samples.logit_bias_C
        details = f'{conventions.is_dtype}, logits with bias'
    seed = conventions.is_shuffle_seed
    order = 'in order' if seed is None else f'shuffled with seed {seed}'
    if splits is not None:
        used = min(splits, N)
        details = f'{used} split{"s" * (used > 1)}, {order}, {details}'
    else:
        used = None
        details = f'splits of {size}, {order}, {details}'
    smallest = smallest_split(N, used, size)
    if smallest < LEAST_OF_SPLIT:
        details += f'; TOO FEW images: a split has {smallest}, and needs {LEAST_OF_SPLIT:,}'
    mean, deviation = inception_score(logits_NC, used, size, seed, getattr(torch, conventions.is_dtype))
    name = key('inception_score', 'is', samples)
    return {
        name: stamp(mean, f'mean over {details}', None, samples, protocol),
        f'{name}_std': stamp(deviation, f'deviation over {details}', None, samples, protocol),
    }


def smallest_split(N: int, splits: int | None, size: int | None) -> int:
    """Images of the smallest split, as `inception_score` makes them."""
    if size is not None:
        return N % size or size
    assert splits is not None
    return N // splits


def neighbours(
    reference: ImageSetStatistics | None, samples: ImageSetStatistics, conventions: FeatureConventions, protocol: str
) -> dict[str, MetricValue]:
    k = conventions.pr_neighbours
    pair = features_of_both(reference, samples, least=k + 1)
    if pair is None:
        return {}
    precision, recall = precision_recall(*pair, k, conventions.pr_distances)
    details = f'k = {k}, distances up to and with the k-th count, {conventions.pr_distances}, {counts(pair)}'
    return {
        key('precision', 'precision', samples): stamp(precision, details, reference, samples, protocol),
        key('recall', 'recall', samples): stamp(recall, details, reference, samples, protocol),
    }


def spread(
    reference: ImageSetStatistics | None, samples: ImageSetStatistics, conventions: FeatureConventions, protocol: str
) -> dict[str, MetricValue]:
    k = conventions.density_neighbours
    pair = features_of_both(reference, samples, least=k + 1)
    if pair is None:
        return {}
    density, coverage = density_coverage(*pair, k)
    details = f'k = {k}, distances below the k-th count, float32, {counts(pair)}'
    return {
        key('density', 'density', samples): stamp(density, details, reference, samples, protocol),
        key('coverage', 'coverage', samples): stamp(coverage, details, reference, samples, protocol),
    }


def features_of_both(
    reference: ImageSetStatistics | None, samples: ImageSetStatistics, least: int
) -> tuple[Tensor, Tensor] | None:
    """Pooled features of reference and samples; None where a set has not kept them or has fewer than `least` images."""
    real_ND = None if reference is None else reference.features('pool')
    made_MD = None if real_ND is None else samples.features('pool')
    if real_ND is None or made_MD is None or min(len(real_ND), len(made_MD)) < least:
        return None
    return real_ND, made_MD


def counts(pair: tuple[Tensor, Tensor]) -> str:
    return f'{len(pair[0])} reference and {len(pair[1])} sample features'


SCORES: dict[str, Callable[..., dict[str, MetricValue]]] = {
    'fid': frechet('pool', 'fid', 'fd'),
    'sfid': frechet('spatial', 'sfid', 'sfd'),
    'kid': kid,
    'inception_score': score_of_samples,
    'precision_recall': neighbours,
    'density_coverage': spread,
}
