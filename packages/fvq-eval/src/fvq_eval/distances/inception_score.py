"""The Inception score: how sure a classifier is of each image, and how many classes it sees (Salimans et al., 2016)."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from fvq_core.errors import UserError


def inception_score(
    logits_NC: Tensor,
    splits: int | None = 10,
    split_size: int | None = None,
    shuffle_seed: int | None = None,
    dtype: torch.dtype = torch.float64,
) -> tuple[float, float]:
    """exp of the mean KL divergence of p(class | image) from p(class), mean and deviation over splits.

    torch-fidelity: 10 splits of one shuffle with seed 2020, float64. ADM (guided-diffusion): consecutive splits of 5,000
    of which the last may be shorter and counts as much, no shuffle, float32.

    Args:
        logits_NC: In the order of the images.
        splits: Number of splits; None with `split_size`.
        split_size: Images a split; None with `splits`.
        shuffle_seed: Seed of NumPy's `RandomState`; None keeps the order.
        dtype: Type of probabilities and logarithms.

    Raises:
        UserError: Fewer images than splits, or not exactly one of `splits` and `split_size`.
    """
    N = len(logits_NC)
    if (splits is None) == (split_size is None):
        raise UserError('inception_score: give exactly one of splits and split_size.')
    if (splits or 1) > N:
        raise UserError(f'inception_score: {N} images do not fill {splits or 1} splits; use fewer splits.')
    if shuffle_seed is not None:
        logits_NC = logits_NC[torch.from_numpy(np.random.RandomState(shuffle_seed).permutation(N))]
    if split_size is not None:
        bounds = [*range(0, N, split_size), N]
    else:
        assert splits is not None
        bounds = [index * N // splits for index in range(splits + 1)]
    scores = [split_score(logits_NC[start:end].to(dtype)) for start, end in pairwise(bounds)]
    return float(np.mean(scores)), float(np.std(scores))


def split_score(logits_NC: Tensor) -> float:
    """The score of one split."""
    log_p_NC = logits_NC.log_softmax(1)
    p_NC = logits_NC.softmax(1)
    marginal_1C = p_NC.mean(0, keepdim=True)
    return (p_NC * (log_p_NC - marginal_1C.log())).sum(1).mean().exp().item()
