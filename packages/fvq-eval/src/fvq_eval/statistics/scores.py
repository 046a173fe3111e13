"""The numbers that two image sets give, each stamped with what it takes to compare it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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
from .comparable import INCEPTION, check_comparable
from .conventions import ADM, TORCH_FIDELITY, FeatureConventions
from .image_set import ImageSetStatistics
from .moments import Gaussian

__all__ = ['ADM', 'TORCH_FIDELITY', 'WITHOUT_REFERENCE', 'FeatureConventions', 'compare']

WITHOUT_REFERENCE = ('inception_score',)  # metrics of the samples only
# Images a split of the Inception score, at least. The mean distribution over the network's 1,008 classes is taken within a
# split, so the score can never exceed the number of its images, and of fewer images than classes it comes out far too low.
# Published scores have splits of 5,000: ADM's, and torch-fidelity's 10 of 50,000.
LEAST_OF_SPLIT = 1000


def compare(
    reference: ImageSetStatistics | None,
    samples: ImageSetStatistics,
    conventions: FeatureConventions,
    preset: str,
    protocol: str = '',
    against: str = '',
    required: int | None = None,
) -> dict[str, MetricValue]:
    """Every number of the conventions that the two sets can give.

    With the 2015 Inception network: `fid`, `sfid`, `kid`, `kid_std`, `kid_all` (from all images at once),
    `inception_score`, `inception_score_std`, `precision`, `recall`, `density`, `coverage`. With another network the
    names are different: `fd_NAME`, `sfd_NAME`, `kd_NAME`, `is_NAME`, `precision_NAME` and so on. What a set lacks is
    left out: scores of single images if their features were not kept, everything but the Inception score without a reference.
    Sets that are too small for a number still give it, with `too_few` saying why; numbers that do not exist for so few
    images are left out, such as every distance of a single image.

    Args:
        preset: Name of the preset that pixels and conventions come from.
        protocol: What was done to the pixels, in words; every protocol starts with it.
        against: What the reference is, in words, for the protocols of scores that compare with it.
        required: Images that the preset asks for.

    Raises:
        UserError: The sets are of different networks.
    """
    if reference is not None:
        check_comparable(reference, samples)
    results: dict[str, MetricValue] = {}
    for metric in conventions.metrics:
        compares = metric not in WITHOUT_REFERENCE
        for name, score in SCORES[metric](reference, samples, conventions).items():
            words = [protocol, f'against {against}' if against and compares else '', score.details]
            words += reference_words(reference, samples) if compares and reference is not None else []
            stated = '; '.join(filter(None, (*words, samples.provenance)))
            few = score.too_few or None
            results[name] = MetricValue(
                score.value, '', stated, samples.count or 0, preset=preset, required=required, too_few=few
            )
    return results


@dataclass(frozen=True)
class Score:
    """A value before its stamp: how it was computed in detail, and why the images are too few for it, if they are."""

    value: float
    details: str
    too_few: str = ''


Reference = ImageSetStatistics | None
Scores = dict[str, Score]


def reference_words(reference: ImageSetStatistics, samples: ImageSetStatistics) -> list[str]:
    """Images of the reference, and its network if its statistics are of another program."""
    count = 'an unstated number of' if reference.count is None else reference.count
    other = [f'reference statistics from {reference.provenance}'] * (reference.fingerprint != samples.fingerprint)
    return [f'reference of {count} images', *other]


def key(name: str, other: str, samples: ImageSetStatistics) -> str:
    """`name` with the 2015 Inception network; with another one `other` and the network's name."""
    return name if samples.extractor_name in (INCEPTION, None) else f'{other}_{samples.extractor_name}'


def frechet(feature: str, name: str, other: str) -> Callable[..., Scores]:
    """The Frechet distance in one feature as a function of the two sets."""

    def score(reference: Reference, samples: ImageSetStatistics, conventions: FeatureConventions) -> Scores:
        a = gaussian_of(reference, feature)
        b = None if a is None else gaussian_of(samples, feature)
        if a is None or b is None:
            return {}
        value = frechet_distance(a.mean_D, a.covariance_DD, b.mean_D, b.covariance_DD, a.factor)
        details = f'Frechet distance of {len(a.mean_D)} {feature} features, float64'
        few = '; TOO FEW '.join(filter(None, (too_few(a, 'reference'), too_few(b, 'sample'))))
        return {key(name, other, samples): Score(value, details, few)}

    return score


def gaussian_of(statistics: ImageSetStatistics | None, feature: str) -> Gaussian | None:
    """Mean and covariance of a feature; None if a set lacks it or has fewer than two images."""
    moments = None if statistics is None else statistics.moments.get(feature)
    if statistics is None or (moments is not None and moments.count < 2):
        return None
    return statistics.gaussian(feature)


def too_few(gaussian: Gaussian, kind: str) -> str:
    """Why a covariance has too few images, if it has."""
    D, N = len(gaussian.mean_D), gaussian.count
    if N is None or N > D:
        return ''
    return f'{kind} images: a covariance of {D} dimensions from {N} images has rank {N - 1} at most'


def kid(reference: Reference, samples: ImageSetStatistics, conventions: FeatureConventions) -> Scores:
    pair = features_of_both(reference, samples, least=2)
    if pair is None:
        return {}
    real_ND, made_MD = pair
    size = min(conventions.kid_subset_size, len(real_ND), len(made_MD))
    subsets, seed = conventions.kid_subsets, conventions.kid_seed
    degree, coef0 = conventions.kid_degree, conventions.kid_coef0
    kernel = f'kernel (x.y / {real_ND.shape[1]} + {coef0:g})^{degree}, unbiased, float64'
    drawn = f'{subsets} subsets of {size}, seed {seed}, {kernel}'
    few = f'images for subsets of {conventions.kid_subset_size}' if size < conventions.kid_subset_size else ''
    mean, deviation = kernel_distance(real_ND, made_MD, subsets, size, degree, coef0=coef0, seed=seed)
    everything = kernel_distance_of_all(real_ND, made_MD, degree, coef0=coef0)
    name = key('kid', 'kd', samples)
    found = {name: Score(mean, f'mean over {drawn}', few)}
    if size < max(len(real_ND), len(made_MD)):  # else every subset is the whole set, and nothing varies
        found[f'{name}_std'] = Score(deviation, f'deviation over {drawn}', few)
    found[f'{name}_all'] = Score(everything, f'all images at once, {kernel}')
    return found


def score_of_samples(reference: Reference, samples: ImageSetStatistics, conventions: FeatureConventions) -> Scores:
    logits_NC = samples.features('logits')
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
    if size is None:
        assert splits is not None
        splits = min(splits, N)
        smallest, parts = N // splits, f'{splits} split{"s" * (splits > 1)}'
    else:
        smallest, parts = N % size or size, f'splits of {size}'
    details = f'{parts}, {order}, {details}'
    few = f'images: a split has {smallest}, and needs {LEAST_OF_SPLIT:,}' if smallest < LEAST_OF_SPLIT else ''
    mean, deviation = inception_score(logits_NC, splits, size, seed, getattr(torch, conventions.is_dtype))
    name = key('inception_score', 'is', samples)
    return {
        name: Score(mean, f'mean over {details}', few),
        f'{name}_std': Score(deviation, f'deviation over {details}', few),
    }


def neighbours(reference: Reference, samples: ImageSetStatistics, conventions: FeatureConventions) -> Scores:
    k, distances = conventions.pr_neighbours, conventions.pr_distances
    pair = features_of_both(reference, samples, least=k + 1)
    if pair is None:
        return {}
    values = dict(zip(('precision', 'recall'), precision_recall(*pair, k, distances), strict=True))
    details = f'k = {k}, distances up to and with the k-th count, {distances}, {len(pair[0])} reference features'
    return {key(name, name, samples): Score(value, details) for name, value in values.items()}


def spread(reference: Reference, samples: ImageSetStatistics, conventions: FeatureConventions) -> Scores:
    k = conventions.density_neighbours
    pair = features_of_both(reference, samples, least=k + 1)
    if pair is None:
        return {}
    values = dict(zip(('density', 'coverage'), density_coverage(*pair, k), strict=True))
    details = f'k = {k}, distances below the k-th count, float32, {len(pair[0])} reference features'
    return {key(name, name, samples): Score(value, details) for name, value in values.items()}


def features_of_both(reference: Reference, samples: ImageSetStatistics, least: int) -> tuple[Tensor, Tensor] | None:
    """Pooled features of reference and samples; None if a set has not kept them or has fewer than `least` images."""
    real_ND = None if reference is None else reference.features('pool')
    made_MD = None if real_ND is None else samples.features('pool')
    if real_ND is None or made_MD is None or min(len(real_ND), len(made_MD)) < least:
        return None
    return real_ND, made_MD


SCORES: dict[str, Callable[..., Scores]] = {
    'fid': frechet('pool', 'fid', 'fd'),
    'sfid': frechet('spatial', 'sfid', 'sfd'),
    'kid': kid,
    'inception_score': score_of_samples,
    'precision_recall': neighbours,
    'density_coverage': spread,
}
