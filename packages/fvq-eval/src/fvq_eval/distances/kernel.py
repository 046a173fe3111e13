"""KID: the squared maximum mean discrepancy under a polynomial kernel (Binkowski et al., ICLR 2018), in float64."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fvq_core.errors import UserError

BLOCK = 2048  # rows of a kernel matrix that exist at a time


def kernel_distance(
    reference_ND: Tensor,
    samples_MD: Tensor,
    subsets: int = 100,
    subset_size: int = 1000,
    degree: int = 3,
    gamma: float | None = None,
    coef0: float = 1.0,
    seed: int = 2020,
) -> tuple[float, float]:
    """Mean and deviation over random subsets of the unbiased estimate, as torch-fidelity draws them.

    torch-fidelity computes in the type of the features, float32, which leaves a KID of 1e-3 three right digits.

    Args:
        subset_size: Vectors a subset, drawn without replacement from each set.
        degree: Degree of the kernel (gamma x.y + coef0)^degree.
        gamma: Scale of the kernel; by default 1 / D.
        seed: Seed of NumPy's `RandomState`.

    Raises:
        UserError: A set is smaller than a subset.
    """
    N, M = len(reference_ND), len(samples_MD)
    check(N, M, subset_size)
    reference_ND, samples_MD = reference_ND.double(), samples_MD.double()
    rng = np.random.RandomState(seed)
    estimates = []
    for _ in range(subsets):
        x = samples_MD[torch.from_numpy(rng.choice(M, subset_size, replace=False))]
        y = reference_ND[torch.from_numpy(rng.choice(N, subset_size, replace=False))]
        estimates.append(kernel_distance_of_all(y, x, degree, gamma, coef0))
    return float(np.mean(estimates)), float(np.std(estimates))


def kernel_distance_of_all(
    reference_ND: Tensor, samples_MD: Tensor, degree: int = 3, gamma: float | None = None, coef0: float = 1.0
) -> float:
    """The unbiased estimate from all vectors at once, arguments as in `kernel_distance`; nothing is drawn, so it has no spread.

    Raises:
        UserError: A set of fewer than two vectors.
    """
    N, M = len(reference_ND), len(samples_MD)
    check(N, M, 2)
    gamma = 1.0 / reference_ND.shape[1] if gamma is None else gamma
    reference_ND, samples_MD = reference_ND.double(), samples_MD.double()

    def kernel_sum(x_ND: Tensor, y_MD: Tensor) -> float:
        blocks = (torch.mm(x, y_MD.T).mul_(gamma).add_(coef0).pow_(degree).sum() for x in x_ND.split(BLOCK))
        return sum(block.item() for block in blocks)

    def diagonal_sum(x_ND: Tensor) -> float:
        return x_ND.square().sum(1).mul_(gamma).add_(coef0).pow_(degree).sum().item()

    within_reference = (kernel_sum(reference_ND, reference_ND) - diagonal_sum(reference_ND)) / (N * (N - 1))
    within_samples = (kernel_sum(samples_MD, samples_MD) - diagonal_sum(samples_MD)) / (M * (M - 1))
    return within_reference + within_samples - 2 * kernel_sum(samples_MD, reference_ND) / (N * M)


def check(N: int, M: int, least: int) -> None:
    if min(N, M) < least:
        raise UserError(
            f'kernel distance: {N} reference and {M} sample images, but {least} of each are needed; use a smaller subset_size '
            'or more images.'
        )
