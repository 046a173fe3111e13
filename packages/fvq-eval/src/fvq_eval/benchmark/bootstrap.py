"""Paired bootstrap over photographs: whether one method is better than another on the same images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fvq_core.errors import UserError

RESAMPLES = 2000


@dataclass(frozen=True)
class PairedDifference:
    """The mean difference of two methods and its 95 % interval; a single photo has no interval.

    Attributes:
        mean: Over images.
        interval: The 2.5 % and the 97.5 % quantile of the resampled means; None below two photos.
        photos: What was resampled.
        images: Crops in all.
    """

    mean: float
    interval: tuple[float, float] | None
    photos: int
    images: int

    @property
    def differs(self) -> bool:
        """Whether there is an interval and it excludes 0."""
        return self.interval is not None and (self.interval[0] > 0 or self.interval[1] < 0)


def paired_bootstrap(
    scores: np.ndarray, reference: np.ndarray, photos: np.ndarray, resamples: int = RESAMPLES, seed: int = 0
) -> PairedDifference:
    """The mean of `scores - reference` with its percentile interval (Efron & Tibshirani, 1993, chapter 13).

    Photos are drawn with replacement, each with all its crops, because crops of one photo are not independent samples.

    Args:
        scores: A number an image, (N,).
        reference: The other method's number for the same images, (N,).
        photos: The number of the photo that each image was cut from, (N,); a negative one makes an image a photo of its own.

    Raises:
        UserError: The arrays are not of one length.
    """
    if not len(scores) == len(reference) == len(photos):
        raise UserError(
            f'paired_bootstrap: {len(scores)} scores, {len(reference)} of the reference and {len(photos)} photos; '
            'the two methods must be scored on the same images.'
        )
    difference = scores.astype(np.float64) - reference.astype(np.float64)
    photo_ids = np.where(photos < 0, photos.max(initial=0) + 1 + np.arange(len(photos)), photos)
    _, group = np.unique(photo_ids, return_inverse=True)
    sums, counts = np.bincount(group, difference), np.bincount(group)
    if len(sums) < 2:
        return PairedDifference(difference.mean().item(), None, len(sums), len(scores))
    drawn = np.random.default_rng(seed).integers(len(sums), size=(resamples, len(sums)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(means, (0.025, 0.975))
    return PairedDifference(difference.mean().item(), (low.item(), high.item()), len(sums), len(scores))
