"""Distances between sets of features equal torch-fidelity, SciPy and ADM's evaluator on thousands of random vectors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

from fvq_core.errors import UserError
from fvq_eval.distances import blocks as blocks_file
from fvq_eval.distances import (
    density_coverage,
    frechet_distance,
    inception_score,
    kernel_distance,
    kernel_distance_of_all,
    precision_recall,
    square_root_factor,
)
from fvq_eval.statistics.moments import Gaussian, Moments

from . import adm_reference

N, M, D = 2500, 2000, 64


def vectors(count: int, dim: int = D, seed: int = 0, shift: float = 0.0) -> Tensor:
    """Like pooled features: never negative, of unequal spread, correlated."""
    rng = torch.Generator().manual_seed(seed)
    spread = torch.linspace(1.5, 0.1, dim)
    mix = torch.eye(dim) + 0.3 * torch.randn(dim, dim, generator=torch.Generator().manual_seed(99)) / dim**0.5
    return ((torch.randn(count, dim, generator=rng) * spread) @ mix + shift).relu()


def gaussian(x_ND: Tensor) -> Gaussian:
    moments = Moments(x_ND.shape[1])
    for part in x_ND.split(777):
        moments.update(part)
    return moments.gaussian()


def frechet(real_ND: Tensor, made_MD: Tensor) -> float:
    a, b = gaussian(real_ND), gaussian(made_MD)
    return frechet_distance(a.mean_D, a.covariance_DD, b.mean_D, b.covariance_DD)


def theirs_frechet(real_ND: Tensor, made_MD: Tensor) -> float:
    pair = (fid_features_to_statistics(x.double()) for x in (made_MD, real_ND))
    return fid_statistics_to_metric(*pair, verbose=False)['frechet_inception_distance']


@pytest.fixture(scope='module')
def real() -> Tensor:
    return vectors(N, seed=1)


@pytest.fixture(scope='module')
def made() -> Tensor:
    return vectors(M, seed=2, shift=0.05)


def test_frechet_equals_torch_fidelity_and_the_root_of_the_product(real: Tensor, made: Tensor):
    ours = frechet(real, made)
    assert ours == pytest.approx(theirs_frechet(real, made), rel=1e-9)
    assert ours == pytest.approx(adm_reference.frechet(real.double().numpy(), made.double().numpy()), rel=1e-9)
    assert ours == pytest.approx(frechet(made, real), rel=1e-9)


def test_frechet_at_the_size_of_inception_equals_torch_fidelity():
    real, made = vectors(2600, 2048, seed=1), vectors(2400, 2048, seed=2, shift=0.02)
    assert frechet(real, made) == pytest.approx(theirs_frechet(real, made), rel=1e-7)


def test_frechet_of_equal_sets_is_zero(real: Tensor):
    assert frechet(real, real) == pytest.approx(0.0, abs=1e-9)


def test_frechet_of_normal_distributions_with_a_common_basis_has_a_closed_form():
    a, b = torch.rand(6, dtype=torch.float64) + 0.1, torch.rand(6, dtype=torch.float64) + 0.1
    basis, _ = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64))
    covariances = [basis * values @ basis.T for values in (a, b)]
    mean = torch.arange(6, dtype=torch.float64)
    got = frechet_distance(mean, covariances[0], 0 * mean, covariances[1])
    assert got == pytest.approx(float(mean.square().sum() + (a.sqrt() - b.sqrt()).square().sum()), rel=1e-12)


@pytest.mark.parametrize(('n', 'm'), [(40, M), (N, 40), (40, 50)])
def test_frechet_from_fewer_images_than_dimensions_equals_the_root_of_the_product(
    n: int, m: int, real: Tensor, made: Tensor
):
    """Both forms lose half of the digits there: a root of an eigenvalue that should be 0 is that of its rounding."""
    ours = frechet(real[:n], made[:m])
    product = gaussian(real[:n]).covariance_DD @ gaussian(made[:m]).covariance_DD
    root = torch.linalg.eigvals(product).sqrt().real.sum()
    traces = sum(gaussian(x).covariance_DD.trace() for x in (real[:n], made[:m]))
    mean = (gaussian(real[:n]).mean_D - gaussian(made[:m]).mean_D).square().sum()
    assert ours == pytest.approx(float(mean + traces - 2 * root), rel=1e-5)


def test_panels_of_a_triangle_change_nothing(real: Tensor, made: Tensor, monkeypatch: pytest.MonkeyPatch):
    whole = frechet(real, made)
    monkeypatch.setattr('fvq_eval.distances.frechet.PANEL', 13)
    assert frechet(real, made) == pytest.approx(whole, rel=1e-12)


def test_a_set_without_spread_is_as_far_as_its_mean_and_the_spread_of_the_other(real: Tensor):
    point = torch.ones(5, D)
    want = (gaussian(real).mean_D - 1).square().sum() + gaussian(real).covariance_DD.trace()
    assert frechet(real, point) == pytest.approx(float(want), rel=1e-12)
    assert frechet(point, real) == pytest.approx(float(want), rel=1e-12)


def test_frechet_of_broken_features_is_refused(real: Tensor):
    a = gaussian(real)
    with pytest.raises(UserError, match='is not finite'):
        frechet_distance(a.mean_D, a.covariance_DD, a.mean_D * torch.nan, a.covariance_DD)


def test_a_singular_covariance_has_a_narrow_factor(real: Tensor):
    covariance = gaussian(real[:20]).covariance_DD
    factor = square_root_factor(covariance)
    assert factor.shape == (D, 19)
    torch.testing.assert_close(factor @ factor.T, covariance, rtol=0, atol=1e-12)


def test_frechet_refuses_sets_of_different_networks(real: Tensor):
    a, b = gaussian(real), gaussian(real[:, :32])
    with pytest.raises(UserError, match='64 features against 32'):
        frechet_distance(a.mean_D, a.covariance_DD, b.mean_D, b.covariance_DD)


def test_inception_score_is_torch_fidelity_s_to_the_last_bit():
    logits = torch.randn(3001, 100, generator=torch.Generator().manual_seed(3)) * 2
    for shuffle, seed in ((True, 2020), (False, None)):
        theirs = isc_features_to_metric(logits, splits=10, shuffle=shuffle, rng_seed=seed or 0)
        ours = inception_score(logits, splits=10, shuffle_seed=seed)
        assert ours == (theirs['inception_score_mean'], theirs['inception_score_std'])


@pytest.mark.parametrize('count', [3000, 3100, 700])
def test_inception_score_in_splits_of_a_size_equals_adm(count: int):
    """The last split of 100 images counts as much as one of 1,000."""
    logits = torch.randn(count, 100, generator=torch.Generator().manual_seed(3)) * 2
    in_single = inception_score(logits, None, 1000, None, torch.float32)[0]
    assert in_single == pytest.approx(adm_reference.inception_score(logits.numpy(), 1000), rel=1e-6)
    in_double = inception_score(logits, None, 1000)[0]
    assert in_double == pytest.approx(adm_reference.inception_score(logits.double().numpy(), 1000), rel=1e-12)


def test_inception_score_of_sure_and_even_classes_is_their_number():
    assert inception_score(torch.eye(8).repeat(5, 1) * 100, splits=5)[0] == pytest.approx(8.0)
    assert inception_score(torch.zeros(16, 8), splits=4) == pytest.approx((1.0, 0.0))


def test_inception_score_refuses_fewer_images_than_splits():
    with pytest.raises(UserError, match='4 images do not fill 10 splits'):
        inception_score(torch.zeros(4, 8), splits=10)


def test_kid_equals_torch_fidelity(real: Tensor, made: Tensor):
    options = dict(kid_subsets=7, kid_subset_size=300, verbose=False)
    theirs = kid_features_to_metric(made.double(), real.double(), **options)  # in float32 it has three right digits
    ours = kernel_distance(real, made, subsets=7, subset_size=300)
    assert ours[0] == pytest.approx(theirs['kernel_inception_distance_mean'], rel=1e-9)
    assert ours[1] == pytest.approx(theirs['kernel_inception_distance_std'], rel=1e-9)


def test_kid_of_all_images_equals_the_sum_over_pairs():
    real, made = vectors(40, 8, seed=1).double(), vectors(30, 8, seed=2).double()
    kernel = lambda x, y: float((x @ y / 8 + 1) ** 3)  # noqa: E731
    within = [
        np.mean([kernel(x, y) for i, x in enumerate(part) for j, y in enumerate(part) if i != j])
        for part in (real, made)
    ]
    between = np.mean([kernel(x, y) for x in real for y in made])
    assert kernel_distance_of_all(real, made) == pytest.approx(sum(within) - 2 * between, rel=1e-10)


def test_kid_refuses_sets_smaller_than_a_subset(real: Tensor):
    with pytest.raises(UserError, match='20 reference and 2500 sample images, but 30 of each'):
        kernel_distance(real[:20], real, subset_size=30)


def test_precision_and_recall_are_torch_fidelity_s_exactly(real: Tensor, made: Tensor):
    theirs = prc_features_to_metric(made, real, verbose=False)
    ours = precision_recall(real, made)
    assert 0.1 < ours[0] < 0.99
    assert ours == pytest.approx((theirs['precision'], theirs['recall']), abs=1e-7)  # their mean is in float32


def test_precision_and_recall_are_adm_s_exactly(real: Tensor, made: Tensor):
    assert precision_recall(real, made) == adm_reference.precision_recall(real.numpy(), made.numpy(), 3, half=False)


def test_float16_distances_give_what_adm_gives(real: Tensor, made: Tensor):
    """On a grid of eighths, where sums in any order are the same: rounding ties are many, and all are met."""
    a, b = (real * 8).round() / 8, (made * 8).round() / 8
    ours = precision_recall(a, b, 3, 'float16')
    assert ours == adm_reference.precision_recall(a.numpy(), b.numpy(), 3, half=True)
    assert ours != precision_recall(a, b, 3, 'float32')


def test_float16_distances_off_the_grid_differ_from_adm_s_by_a_vector_in_a_thousand_at_most(real: Tensor, made: Tensor):
    """Sums of products in another order round to another float16 now and then."""
    ours = precision_recall(real, made, 3, 'float16')
    assert ours == pytest.approx(adm_reference.precision_recall(real.numpy(), made.numpy(), 3, half=True), abs=1e-3)


def test_distances_that_overflow_float16_are_taken_in_float32(real: Tensor, made: Tensor):
    a, b = real * 100, made * 100
    assert float(torch.cdist(a[:50], b[:50]).square().max()) > 65504
    ours = precision_recall(a, b, 3, 'float16')
    assert ours == precision_recall(a, b, 3, 'float32')
    assert ours == adm_reference.precision_recall(a.numpy(), b.numpy(), 3, half=True)


def test_blocks_change_nothing(real: Tensor, made: Tensor, monkeypatch: pytest.MonkeyPatch):
    """Of sides that neither divide the sets nor one another."""
    whole = precision_recall(real, made), density_coverage(real, made)
    monkeypatch.setattr(blocks_file, 'ROWS', 97)
    monkeypatch.setattr(blocks_file, 'SQUARE', 301)
    assert (precision_recall(real, made), density_coverage(real, made)) == whole


def test_copies_lie_inside(real: Tensor):
    """A ball with a radius of 0 holds its own center: `<=`, not `<`."""
    assert precision_recall(real[:50], real[:50]) == (1.0, 1.0)
    point = torch.ones(10, 4)
    assert precision_recall(point, point) == (1.0, 1.0)
    assert precision_recall(point, point + 1) == (0.0, 0.0)


def test_density_and_coverage_equal_the_authors_formulas(real: Tensor, made: Tensor):
    real, made, k = real[:600].double(), made[:500].double(), 5
    radii = torch.cdist(real, real).sort(1).values[:, k]
    inside = torch.cdist(real, made) < radii[:, None]
    density, coverage = density_coverage(real, made, k)
    assert density == pytest.approx(float(inside.sum()) / (k * 500), rel=1e-12)
    assert coverage == pytest.approx(float(inside.any(1).double().mean()), rel=1e-12)


def test_neighbourhoods_refuse_sets_of_k_images(real: Tensor):
    with pytest.raises(UserError, match='3 images have no 3 neighbours'):
        precision_recall(real, real[:3])


def test_neighbourhoods_of_features_far_from_zero_are_those_at_zero():
    rng = torch.Generator().manual_seed(3)
    real, made = ((torch.randn(500, 16, generator=rng) * 256).round() / 256 for _ in range(2))
    at_zero = precision_recall(real, made), density_coverage(real, made)
    far = precision_recall(real + 2.0**14, made + 2.0**14), density_coverage(real + 2.0**14, made + 2.0**14)
    assert far == at_zero
