"""KID: the squared maximum mean discrepancy under a polynomial kernel (Binkowski et al., ICLR 2018), in float64."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fvq_core.errors import UserError

BLOCK = 256  # rows of a kernel matrix that exist at a time


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
        return torch.mm(x_ND, y_MD.T).mul_(gamma).add_(coef0).pow_(degree).sum().item()

    def sum_of_pairs(x_ND: Tensor) -> float:
        """Over all i != j; each pair is multiplied once, but for those within a block."""
        total = 0.0
        for start in range(0, len(x_ND), BLOCK):
            block, rest = x_ND[start : start + BLOCK], x_ND[start + BLOCK :]
            diagonal = block.square().sum(1).mul_(gamma).add_(coef0).pow_(degree).sum().item()
            total += kernel_sum(block, block) - diagonal + 2 * kernel_sum(block, rest)
        return total

    within = sum_of_pairs(reference_ND) / (N * (N - 1)) + sum_of_pairs(samples_MD) / (M * (M - 1))
    between = sum(kernel_sum(x, reference_ND) for x in samples_MD.split(BLOCK)) / (N * M)
    return within - 2 * between


def check(N: int, M: int, least: int) -> None:
    if min(N, M) < least:
        raise UserError(
            f'kernel distance: {N} reference and {M} sample images, but {least} of each are needed; use a smaller subset_size '
            'or more images.'
        )
