"""An interval over seeds and photos at once: another training run, scored on other photos."""

from __future__ import annotations

import numpy as np

from .bootstrap import RESAMPLES

FEWEST_SEEDS = 5  # fewer draw too few different samples: an interval would pretend


def photo_means(scores_SN: np.ndarray, photos_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean over each photo's crops, (S, P), and the number of its crops, (P,).

    Args:
        scores_SN: A number for each seed and crop.
        photos_N: The number of the photo that each crop was cut from.
    """
    _, group_N = np.unique(photos_N, return_inverse=True)
    crops_P = np.bincount(group_N)
    return np.stack([np.bincount(group_N, scores_N) / crops_P for scores_N in scores_SN]), crops_P


def mixed_bootstrap(
    differences_SN: np.ndarray, photos_N: np.ndarray, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float] | None:
    """The 95 % percentile interval of the mean difference, over both seeds and photos (Owen, 2007: the pigeonhole bootstrap).

    Seeds are drawn with replacement, and independently of them photos, each with all its crops.

    Args:
        differences_SN: One method minus the other, for each common seed and each crop.
        photos_N: As for `photo_means`.

    Returns:
        None below `FEWEST_SEEDS` seeds or two photos.
    """
    means_SP, crops_P = photo_means(differences_SN.astype(np.float64), photos_N)
    S, P = means_SP.shape
    if S < FEWEST_SEEDS or P < 2:
        return None
    rng = np.random.default_rng(seed)
    seeds_RS = rng.multinomial(S, np.full(S, 1 / S), resamples)
    weights_RP = rng.multinomial(P, np.full(P, 1 / P), resamples) * crops_P
    means_R = np.einsum('rs,sp,rp->r', seeds_RS, means_SP, weights_RP) / (S * weights_RP.sum(1))
    low, high = np.quantile(means_R, (0.025, 0.975))
    return low.item(), high.item()
