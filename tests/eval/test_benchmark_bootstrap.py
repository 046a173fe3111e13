"""Paired intervals: those of the textbook, over photos and not over crops, and none where one photo speaks for all."""

from __future__ import annotations

import numpy as np
import pytest

from fvq_core.errors import UserError
from fvq_eval.benchmark.bootstrap import paired_bootstrap
from fvq_eval.benchmark.mixed_bootstrap import mixed_bootstrap
from fvq_eval.benchmark.rows import Row
from fvq_eval.benchmark.sentences import compared
from fvq_eval.benchmark.summary import RowSummary
from fvq_eval.benchmark.tables import difference_text


def test_the_bootstrap_interval_is_the_normal_one_for_many_photos() -> None:
    rng = np.random.default_rng(0)
    reference, gain = rng.normal(25, 4, 3000), rng.normal(0.2, 1.5, 3000)
    got = paired_bootstrap(reference + gain, reference, np.full(3000, -1))
    half = 1.96 * gain.std() / np.sqrt(3000)
    assert got.mean == pytest.approx(gain.mean())
    assert got.interval == pytest.approx((gain.mean() - half, gain.mean() + half), abs=0.1 * half)
    assert got.photos == got.images == 3000
    assert got.differs


def test_crops_of_one_photo_do_not_pass_for_independent_samples() -> None:
    rng = np.random.default_rng(1)
    of_photo = rng.normal(0.0, 1.0, 20)
    photos = np.repeat(np.arange(20), 50)
    got = paired_bootstrap(of_photo[photos], np.zeros(1000), photos)
    alone = paired_bootstrap(of_photo, np.zeros(20), np.arange(20))
    assert got.interval == pytest.approx(alone.interval)
    assert got.photos == 20
    assert got.interval[1] - got.interval[0] > 4 * (2 * 1.96 * of_photo.std() / np.sqrt(1000))


def test_a_constant_difference_has_no_width_and_none_is_no_difference() -> None:
    scores, photos = np.arange(30.0), np.arange(30) % 3
    got = paired_bootstrap(scores + 0.5, scores, photos)
    assert got.mean == 0.5
    assert got.interval == pytest.approx((0.5, 0.5))
    assert not paired_bootstrap(scores, scores, photos).differs
    with pytest.raises(UserError, match='same images'):
        paired_bootstrap(scores, scores[:-1], photos)


@pytest.mark.parametrize(
    ('photos', 'warned', 'shown'), [(1, True, '(+1.00 [no interval])'), (9, True, None), (10, False, None)]
)
def test_one_photo_gives_no_interval_and_few_give_a_warning(photos: int, warned: bool, shown: str | None) -> None:
    crops = 4 * photos
    difference = paired_bootstrap(np.ones(crops), np.zeros(crops), np.arange(crops) % photos)
    assert (difference.interval is None) == (not difference.differs) == (photos == 1)
    summary = RowSummary(Row('vq', 'vq.py', None), difference=difference)
    assert any(f'Warning: {photos} evaluation photo(s).' in note for note in compared([summary])) == warned
    assert shown in (None, difference_text(summary))


@pytest.mark.parametrize(('of_seed', 'of_photo'), [(1.0, 0.1), (0.1, 1.0), (0.3, 3.0)])
def test_the_interval_over_seeds_and_photos_holds_the_truth_in_95_of_100_cases(of_seed: float, of_photo: float) -> None:
    rng = np.random.default_rng(0)
    trials, seeds, photos = 600, 5, 100
    differences = of_seed * rng.normal(size=(trials, seeds, 1)) + of_photo * rng.normal(size=(trials, 1, photos))
    differences += 0.1 * rng.normal(size=(trials, seeds, photos))
    intervals = np.array([mixed_bootstrap(each, np.arange(photos), resamples=500) for each in differences])
    covered = np.mean((intervals[:, 0] <= 0) & (intervals[:, 1] >= 0))
    assert 0.925 <= covered <= 0.975  # five plain draws of five seeds: 0.83
