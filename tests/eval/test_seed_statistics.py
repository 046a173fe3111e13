"""Statistics over seeds: t intervals, Holm, what can be detected, and intervals over seeds and photos."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from fvq_eval.benchmark.mixed_bootstrap import FEWEST_SEEDS, mixed_bootstrap, photo_means
from fvq_eval.benchmark.seed_differences import holm, paired_t, smallest_detectable


def test_the_interval_of_paired_differences_is_students() -> None:
    # By hand: mean 0.5, standard deviation 0.5, error 0.5 / sqrt(3), t of 2 degrees of freedom 4.3027.
    got = paired_t([0.0, 0.5, 1.0])
    half = 4.302652729 * 0.5 / math.sqrt(3)
    assert (got.mean, got.spread) == (0.5, 0.5)
    assert got.interval == pytest.approx((0.5 - half, 0.5 + half))
    assert got.p == pytest.approx(stats.ttest_1samp([0.0, 0.5, 1.0], 0.0).pvalue)
    assert not got.differs
    assert paired_t([0.4, 0.5, 0.6]).differs


def test_one_seed_has_no_interval_and_equal_differences_no_width() -> None:
    alone = paired_t([3.0])
    assert (alone.mean, alone.interval, alone.p, alone.spread, alone.differs) == (3.0, None, None, None, False)
    assert (paired_t([2.0, 2.0]).interval, paired_t([2.0, 2.0]).p) == ((2.0, 2.0), 0.0)
    assert (paired_t([0.0, 0.0]).p, paired_t([0.0, 0.0]).differs) == (1.0, False)


def test_the_interval_covers_the_truth_in_95_of_100_experiments() -> None:
    rng = np.random.default_rng(0)
    found = [paired_t(rng.normal(0.3, 0.8, 5)).interval for _ in range(2000)]
    covered = np.mean([low < 0.3 < high for low, high in (each for each in found if each is not None)])
    assert covered == pytest.approx(0.95, abs=0.015)


def test_holm_multiplies_the_smallest_most_and_keeps_the_order() -> None:
    assert holm([0.04, 0.01, 0.03]) == pytest.approx(
        [0.06, 0.03, 0.06]
    )  # Holm (1979): 0.03, then 2 x 0.03, then 0.06 stays
    assert holm([0.5, 0.6]) == pytest.approx([1.0, 1.0])
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


@pytest.mark.parametrize(('seeds', 'difference'), [(3, 2.5), (5, 1.6), (8, 1.2)])
def test_what_unpaired_seeds_can_show(seeds: int, difference: float) -> None:
    """At 0.8 dB between seeds, power 80 %, two-sided at 5 %."""
    found = smallest_detectable(0.8, seeds, paired=False)
    assert round(found, 1) == difference
    rng = np.random.default_rng(seeds)  # by simulation: eight in ten experiments find it
    one, other = rng.normal(found, 0.8, (4000, seeds)), rng.normal(0.0, 0.8, (4000, seeds))
    assert np.mean(stats.ttest_ind(one, other, axis=1).pvalue < 0.05) == pytest.approx(0.8, abs=0.02)


def test_pairing_helps_by_what_seeds_have_in_common() -> None:
    common = 0.8  # correlation of two methods over seeds
    spread = 0.8 * math.sqrt(2 * (1 - common))
    paired = smallest_detectable(spread, 5, paired=True)
    assert paired < smallest_detectable(0.8, 5, paired=False)
    assert smallest_detectable(spread, 5, paired=True, alpha=0.05 / 6) > paired  # a family of six
    rng = np.random.default_rng(1)
    draws = rng.normal(paired, spread, (4000, 5))
    assert np.mean(stats.ttest_1samp(draws, 0.0, axis=1).pvalue < 0.05) == pytest.approx(0.8, abs=0.02)


def test_crops_are_nested_in_photos() -> None:
    means, crops = photo_means(np.array([[1.0, 2.0, 6.0], [0.0, 4.0, 5.0]]), np.array([7, 7, 3]))
    assert crops.tolist() == [1, 2]
    assert means.tolist() == [[6.0, 1.5], [5.0, 2.0]]
    # 50 copies of each photo's crop tell no more than one.
    rng = np.random.default_rng(2)
    differences, photos = rng.normal(0.5, 1.0, (6, 20)), np.arange(20)
    assert mixed_bootstrap(np.repeat(differences, 50, axis=1), np.repeat(photos, 50)) == pytest.approx(
        mixed_bootstrap(differences, photos)
    )


def test_the_mixed_interval_knows_seeds_and_photos() -> None:
    rng = np.random.default_rng(3)
    seeds, photos = 40, 400
    of_seed, of_photo = rng.normal(0, 0.6, (seeds, 1)), rng.normal(0, 4.0, (1, photos))
    found = mixed_bootstrap(of_seed + of_photo, np.arange(photos))
    assert found is not None
    expected = 2 * 1.96 * math.sqrt(of_seed.var() / seeds + of_photo.var() / photos)  # variances of the two add
    assert found[1] - found[0] == pytest.approx(expected, rel=0.06)


def test_there_is_no_mixed_interval_of_few_seeds_or_one_photo() -> None:
    assert mixed_bootstrap(np.ones((FEWEST_SEEDS - 1, 10)), np.arange(10)) is None
    assert mixed_bootstrap(np.ones((FEWEST_SEEDS, 10)), np.zeros(10)) is None
    assert mixed_bootstrap(np.ones((FEWEST_SEEDS, 10)), np.arange(10)) == pytest.approx((1.0, 1.0))
