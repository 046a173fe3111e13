"""k-means against Lloyd's algorithm as it is defined, and where that leaves things open."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from fvq_core.errors import UserError
from fvq_core.ops import kmeans as module
from fvq_core.ops.kmeans import kmeans


def blobs(clusters: int = 6, each: int = 30, dim: int = 4) -> tuple[Tensor, Tensor]:
    """Points around centres that lie far apart, in random order, and the centres."""
    centres = 50 * torch.randn(clusters, dim)
    points = (centres + torch.randn(each, clusters, dim)).flatten(0, 1)
    return points[torch.randperm(len(points))], centres


def test_result_is_a_fixed_point_of_lloyds_algorithm():
    points = torch.randn(400, 5)
    found = kmeans(points, 12, iterations=200)
    assert found.iterations < 200
    nearest = torch.cdist(points.double(), found.centres_KD.double()).argmin(1)
    means = torch.stack([points[nearest == k].mean(0) for k in range(12)])
    torch.testing.assert_close(found.centres_KD, means)
    assert torch.equal(found.counts_K, torch.bincount(nearest, minlength=12))
    assert found.inertia == pytest.approx((points - means[nearest]).square().sum(1).mean().item(), rel=1e-5)


def test_every_move_of_the_centres_lowers_the_inertia():
    points = torch.randn(300, 3)
    inertias = [kmeans(points, 20, iterations=i).inertia for i in range(8)]
    assert all(after < before for before, after in pairwise(inertias))


@pytest.mark.parametrize('chunk', [1000, 7])
def test_chunks_change_nothing(chunk: int, monkeypatch: pytest.MonkeyPatch):
    points = torch.randn(100, 3)
    whole = kmeans(points, 9)
    monkeypatch.setattr(module, 'CHUNK_POINTS', chunk)
    seen: list[int] = []
    again = kmeans(points, 9, on_chunk=seen.append)
    torch.testing.assert_close(again.centres_KD, whole.centres_KD)
    assert sum(seen) == 100 * (again.iterations + 1)
    assert max(seen) == min(chunk, 100)


def test_same_seed_same_centres_and_another_seed_others():
    points = torch.randn(200, 3)
    one, same, other = (kmeans(points, 10, seed=seed).centres_KD for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    state = torch.get_rng_state()
    kmeans(points, 10)
    assert torch.equal(torch.get_rng_state(), state), 'the global generator is left alone'


def test_centres_without_points_are_moved_to_where_points_are_far():
    points = torch.cat([torch.zeros(500, 2), 10 + torch.rand(20, 2)])
    found = kmeans(points, 8, iterations=50)
    assert (found.counts_K > 0).all(), 'random starts lie on the same point, and would stay empty'


def test_as_many_clusters_as_points_gives_the_points():
    points = torch.randn(30, 3)
    found = kmeans(points, 30)
    assert found.inertia < 1e-12
    torch.testing.assert_close(found.centres_KD, points)


def test_clusters_that_lie_apart_are_found():
    points, centres = blobs()
    best = min((kmeans(points, 6, 100, seed) for seed in range(10)), key=lambda found: found.inertia)
    assert torch.cdist(centres, best.centres_KD).min(1).values.max() < 1.0


def test_half_precision_points_are_clustered_in_single_precision():
    points = torch.randn(100, 3).half()
    found = kmeans(points, 5)
    assert torch.equal(found.centres_KD, kmeans(points.float(), 5).centres_KD)
    assert found.centres_KD.dtype == torch.float32


def test_tolerance_stops_early():
    points = torch.randn(2000, 8)
    assert kmeans(points, 50, 100, tolerance=0.01).iterations < kmeans(points, 50, 100).iterations


def test_too_few_points_and_numbers_that_are_not_finite_are_refused():
    with pytest.raises(UserError, match='got 5 for 4 points'):
        kmeans(torch.randn(4, 2), 5)
    with pytest.raises(UserError, match=r'a whole number of clusters, got 5\.0'):
        kmeans(torch.randn(9, 2), 5.0)  # type: ignore[arg-type]
    for wrong in (float('nan'), float('inf')):
        points = torch.randn(9, 2)
        points[4, 1] = wrong
        with pytest.raises(UserError, match='not finite'):
            kmeans(points, 3)


@pytest.mark.parametrize(
    ('points', 'iterations', 'message'),
    [
        (torch.zeros(4), 1, r'got torch.float32 \(4,\) and 1'),
        (torch.zeros(4, 2, dtype=torch.uint8), 1, r'got torch.uint8 \(4, 2\)'),
        (torch.zeros(4, 2).numpy(), 1, 'got ndarray and 1; NumPy arrays come in by torch.from_numpy'),
        (torch.zeros(4, 2), -1, 'and -1'),
    ],
)
def test_what_cannot_be_clustered_is_refused(points: Any, iterations: int, message: str):
    with pytest.raises(UserError, match=message):
        kmeans(points, 2, iterations=iterations)
