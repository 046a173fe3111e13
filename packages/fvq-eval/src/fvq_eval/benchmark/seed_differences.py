"""Paired differences of two methods between seeds: what another seed would change."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True)
class SeedDifference:
    """The mean of differences, one a seed, with Student's interval; a single seed has neither interval nor p.

    Attributes:
        values: One difference a seed.
        interval: Of the mean over all seeds there might be, 95 %; None below two seeds.
        p: Two-sided, of no difference; None below two seeds.
    """

    values: tuple[float, ...]
    interval: tuple[float, float] | None
    p: float | None

    @property
    def mean(self) -> float:
        return float(np.mean(self.values))

    @property
    def spread(self) -> float | None:
        """Standard deviation of the differences (n - 1); None for one seed."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else None

    @property
    def differs(self) -> bool:
        """Whether there is an interval and it excludes 0."""
        return self.interval is not None and (self.interval[0] > 0 or self.interval[1] < 0)


def paired_t(differences: Sequence[float]) -> SeedDifference:
    """Student's t of differences that are paired by seed (Student, 1908).

    Args:
        differences: One method minus the other, a number a seed.
    """
    values = tuple(map(float, differences))
    n = len(values)
    if n < 2:
        return SeedDifference(values, None, None)
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(n)
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, n - 1)) * error
    # Equal differences have no spread: any mean but 0 is then certain.
    p = float(2 * stats.t.sf(abs(mean) / error, n - 1)) if error else float(mean == 0)
    return SeedDifference(values, (mean - half, mean + half), p)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values of a family of tests: below 0.05 means shown, with 5 % risk of one false claim or more in the family.

    The smallest of m is multiplied by m, the next by m - 1, ..., and none gets below one before it (Holm, 1979).
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted


def smallest_detectable(spread: float, seeds: int, paired: bool, power: float = 0.8, alpha: float = 0.05) -> float:
    """The true difference that a two-sided t test finds with this power, by the noncentral t distribution.

    Args:
        spread: Standard deviation between the seeds of one method, or, if `paired`, of the differences.
        seeds: Of each method, two or more.
        paired: One sample of differences (n - 1 degrees of freedom) instead of two samples (2 n - 2).
        alpha: Risk of a false claim; divide it by the number of tests for the first step of `holm`.
    """
    freedom, error = (
        (seeds - 1, spread / math.sqrt(seeds)) if paired else (2 * seeds - 2, spread * math.sqrt(2 / seeds))
    )
    critical = float(stats.t.ppf(1 - alpha / 2, freedom))
    low, high = 0.0, critical
    while stats.nct.sf(critical, freedom, high) < power:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if stats.nct.sf(critical, freedom, middle) < power else (low, middle)
    return high * error
