"""Neighbourhoods found by products of bytes are those of plain distances, to the last vector."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fvq_eval.distances import byte_vectors as rounding
from fvq_eval.distances import density_coverage, precision_recall
from fvq_eval.distances import near_pairs as finding
from fvq_eval.distances.byte_vectors import byte_vectors
from fvq_eval.distances.density_coverage import samples_by_bytes
from fvq_eval.distances.near_pairs import TooManyNearPairs, near_pairs, squared_radii
from fvq_eval.distances.precision_recall import inside_by_bytes


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several tiles, of sides that divide neither the sets nor the groups."""
    monkeypatch.setattr(finding, 'TILE', 250)
    monkeypatch.setattr(finding, 'GROUP', 7)
    monkeypatch.setattr(finding, 'DENSE', 1.0)  # tiles are so small that many of their pairs are near
    monkeypatch.setattr(rounding, 'LEAST_VECTORS', 100)
    monkeypatch.setattr(rounding, 'LEAST_DIMENSIONS', 16)


def even(count: int, dim: int, rng: torch.Generator) -> Tensor:
    """All pairs about as far apart: the hardest for a bound."""
    return torch.randn(count, dim, generator=rng).abs()


def uneven(count: int, dim: int, rng: torch.Generator) -> Tensor:
    """Like pooled features: never negative, most of the spread in few directions, some far outliers."""
    x_ND = (torch.randn(count, dim, generator=rng) * torch.arange(1, dim + 1) ** -0.5 * 3 + 0.3).relu()
    return x_ND * (1 + (torch.rand(count, 1, generator=rng) > 0.98))


def clusters(count: int, dim: int, rng: torch.Generator) -> Tensor:
    centers = torch.randn(40, dim, generator=torch.Generator().manual_seed(9)) * 4
    return centers[torch.arange(count) % 40] + torch.randn(count, dim, generator=rng)


Shape = Callable[[int, int, torch.Generator], Tensor]
SHAPES: list[Shape] = [even, uneven, clusters]


def pair(shape: Shape, real: int = 834, made: int = 701, dim: int = 130) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(4)
    return shape(real, dim, rng), shape(made, dim, rng) * 1.02


def squared(x_ND: Tensor, y_MD: Tensor) -> Tensor:
    """The distances themselves, in float64."""
    return torch.cdist(x_ND.double(), y_MD.double(), compute_mode='donot_use_mm_for_euclid_dist').square()


def radii(x_ND: Tensor, k: int) -> Tensor:
    return squared(x_ND, x_ND).sort(1).values[:, k]


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('k', [1, 3, 5])
def test_radii_are_those_of_all_distances(shape: Shape, k: int):
    x_ND, _ = pair(shape)
    (rounded,) = byte_vectors(x_ND)
    got, want = squared_radii(rounded, k).double(), radii(x_ND, k)[rounded.order_N]
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('shape', SHAPES)
def test_the_same_vectors_are_inside(shape: Shape):
    real, made = pair(shape)
    matrix = squared(made, real)
    inside_real, inside_made = inside_by_bytes(real, made, 3)
    assert 0 < inside_real.sum() < len(made)
    assert torch.equal(inside_real, (matrix <= radii(real, 3)).any(1))
    assert torch.equal(inside_made, (matrix <= radii(made, 3)[:, None]).any(0))


@pytest.mark.parametrize('shape', SHAPES)
def test_the_same_samples_are_in_every_ball(shape: Shape):
    real, made = pair(shape)
    assert torch.equal(samples_by_bytes(real, made, 5), (squared(made, real) < radii(real, 5)).sum(0))


@pytest.mark.parametrize('shape', SHAPES)
def test_what_is_said_of_a_pair_holds(shape: Shape):
    """All pairs within the bounds come, and their distances lie between the least and the largest value."""
    real, made = pair(shape)
    x, y = byte_vectors(real, made)
    matrix = squared(real, made)[x.order_N][:, y.order_N]
    bound_N, bound_M = matrix.quantile(0.002, 1).float(), matrix.quantile(0.001, 0).float()
    found = torch.zeros(matrix.shape, dtype=torch.int64)
    for i, j, low, high in near_pairs(x, y, bound_N, bound_M):
        found[i, j] += 1
        assert (low <= matrix[i, j]).all()
        assert (matrix[i, j] <= high).all()
    assert found.max() == 1
    assert (found[matrix <= torch.maximum(bound_N[:, None], bound_M)] == 1).all()


def test_vectors_that_are_all_alike_are_left_to_plain_products(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(finding, 'DENSE', 0.01)
    same = torch.ones(500, 32) + torch.rand(500, 1) * 1e-3
    same[0] += 100
    with pytest.raises(TooManyNearPairs):
        inside_by_bytes(same, same, 3)
    assert precision_recall(same, same) == (1.0, 1.0)
    constant = torch.ones(500, 32)
    assert precision_recall(constant, constant) == (1.0, 1.0)
    assert density_coverage(constant, constant) == (0.0, 0.0)  # no ball has an inside


def test_the_faster_way_is_taken_and_gives_the_same_numbers(monkeypatch: pytest.MonkeyPatch):
    real, made = pair(uneven)
    by_bytes = precision_recall(real, made), density_coverage(real, made)
    monkeypatch.setattr(rounding, 'LEAST_VECTORS', 10**9)
    assert (precision_recall(real, made), density_coverage(real, made)) == by_bytes
