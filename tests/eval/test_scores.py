"""Scores of two sets: what has no value is left out, what needs no reference names none, rounding is not a distance."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fvq_eval.distances import frechet_distance
from fvq_eval.statistics.conventions import ADM, TORCH_FIDELITY
from fvq_eval.statistics.image_set import ImageSetStatistics
from fvq_eval.statistics.moments import Gaussian
from fvq_eval.statistics.scores import FeatureConventions, compare

from .two_ranks import statistics

SMALL = FeatureConventions(kid_subsets=3, kid_subset_size=20, is_splits=4)


@pytest.fixture(scope='module')
def many() -> ImageSetStatistics:
    return statistics(list(range(80)), 16)


def test_a_single_image_has_an_inception_score_and_no_distance(many: ImageSetStatistics) -> None:
    one = statistics([1000], 1)
    alone = {'is_random', 'is_random_std'}
    assert set(compare(many, one, SMALL, 'strict')) == alone
    assert set(compare(one, many, SMALL, 'strict')) == alone
    assert compare(many, one, SMALL, 'strict')['is_random'].value == pytest.approx(1.0)


def test_only_what_compares_with_a_reference_names_it(many: ImageSetStatistics) -> None:
    found = compare(many, statistics(list(range(100, 140)), 16), SMALL, 'strict', against='80 images of val')
    assert {'fd_random', 'kd_random', 'precision_random', 'coverage_random', 'is_random'} <= set(found)
    for name, value in found.items():
        assert ('against 80 images of val' in value.stamp) != name.startswith('is_'), name


def test_rounding_below_zero_becomes_zero_and_a_real_negative_is_not_hidden() -> None:
    rounded = []
    for seed in range(20):
        rng = torch.Generator().manual_seed(seed)
        mix = torch.randn(64, 64, dtype=torch.float64, generator=rng)
        x = (torch.randn(20, 64, dtype=torch.float64, generator=rng) @ mix).relu()
        mean, covariance = x.mean(0), torch.cov(x.T)
        rounded.append(frechet_distance(mean, covariance, mean, covariance))
    assert all(0 <= distance < 1e-9 for distance in rounded)
    assert 0.0 in rounded  # some of these come out as -4e-13
    broken = torch.diag(torch.tensor([1.0, -0.01], dtype=torch.float64))  # a file may hold what is no covariance
    zero = torch.zeros(2, dtype=torch.float64)
    assert frechet_distance(zero, broken, zero, broken) == pytest.approx(-0.02)


@pytest.mark.parametrize(
    ('count', 'conventions', 'smallest'),
    [
        (80, SMALL, 20),
        (80, replace(SMALL, is_splits=100), 1),
        (80, replace(SMALL, is_splits=None, is_split_size=64), 16),
    ],
)
def test_an_inception_score_of_small_splits_is_marked(
    count: int, conventions: FeatureConventions, smallest: int, many: ImageSetStatistics
) -> None:
    found = compare(None, many, conventions, 'strict')
    for name in ('is_random', 'is_random_std'):
        assert f'; TOO FEW images: a split has {smallest}, and needs 1,000' in found[name].stamp


def test_an_inception_score_of_splits_of_a_thousand_is_not_marked() -> None:
    rows = {'logits': torch.randn(3000, 8, generator=torch.Generator().manual_seed(0))}
    gaussian = Gaussian(torch.zeros(2).double(), torch.eye(2).double(), 3000)
    one = ImageSetStatistics.finished(statistics([1], 1).kind, {'pool': gaussian}, torch.arange(3000), rows)
    for splits, marked in ((3, False), (4, True)):
        found = compare(None, one, replace(TORCH_FIDELITY, is_splits=splits, metrics=('inception_score',)), 'strict')
        assert ('TOO FEW' in found['is_random'].stamp) == marked


def test_a_kid_of_subsets_that_are_the_whole_set_has_no_deviation(many: ImageSetStatistics) -> None:
    other = statistics(list(range(100, 180)), 16)
    for size, given in ((79, True), (80, False), (1000, False)):
        conventions = replace(SMALL, kid_subset_size=size, metrics=('kid',))
        assert ('kd_random_std' in compare(many, other, conventions, 'strict')) == given
    few = statistics(list(range(100, 140)), 16)  # subsets of the larger set still differ
    assert 'kd_random_std' in compare(many, few, replace(SMALL, kid_subset_size=1000, metrics=('kid',)), 'strict')


def test_conventions_print_only_the_choices_of_their_metrics() -> None:
    assert str(replace(TORCH_FIDELITY, metrics=('fid',))) == 'fid'
    both = str(replace(ADM, metrics=('fid', 'inception_score')))
    assert both == 'fid inception_score, is_split_size=5000, is_shuffle_seed=None, is_dtype=float32, logit_bias=False'
    assert 'kid' not in str(replace(TORCH_FIDELITY, metrics=('precision_recall', 'density_coverage')))
    for choice in ('kid_subsets=100', 'pr_distances=float32', 'density_neighbours=5', 'is_splits=10'):
        assert choice in str(TORCH_FIDELITY)
    assert str(replace(TORCH_FIDELITY, metrics=())) == 'none'
