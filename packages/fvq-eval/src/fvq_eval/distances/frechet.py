"""The Frechet distance of two normal distributions, in float64 (Heusel et al., NeurIPS 2017, eq. 6)."""

from __future__ import annotations

import torch
from torch import Tensor

from fvq_core.errors import UserError

EPS = torch.finfo(torch.float64).eps
PANEL = 512  # columns of a triangular matrix that are multiplied at a time


def frechet_distance(
    mean_a_D: Tensor,
    covariance_a_DD: Tensor,
    mean_b_D: Tensor,
    covariance_b_DD: Tensor,
    factor_a_DR: Tensor | None = None,
) -> float:
    """|mean_a - mean_b|^2 + tr(A + B - 2 (A B)^1/2).

    Args:
        mean_a_D: float64.
        covariance_a_DD: A, float64, symmetric, no negative eigenvalue.
        mean_b_D: float64.
        covariance_b_DD: B.
        factor_a_DR: `square_root_factor(covariance_a_DD)`, if it is at hand.

    Returns:
        0 or more for covariances. A set against itself comes out as rounding of either sign, and what is below 0 by no more
        than that is 0. Eigenvalues are known to EPS of the largest, hence their roots to EPS^1/2: that times the traces is
        the limit. A value further below 0 shows that a matrix is not a covariance, and is returned as it is.

    Raises:
        UserError: The numbers of features differ, or a number is not finite.
    """
    if mean_a_D.shape != mean_b_D.shape or covariance_a_DD.shape != covariance_b_DD.shape:
        raise UserError(
            f'Frechet distance: {len(mean_a_D)} features against {len(mean_b_D)}; use one network for both.'
        )
    if not all(part.isfinite().all() for part in (mean_a_D, covariance_a_DD, mean_b_D, covariance_b_DD)):
        raise UserError('Frechet distance: a mean or covariance is not finite; the features are broken.')
    if factor_a_DR is None:
        factor_a_DR = square_root_factor(covariance_a_DD)
    traces = covariance_a_DD.trace() + covariance_b_DD.trace()
    distance = (mean_a_D - mean_b_D).square().sum() + traces - 2 * trace_of_root(factor_a_DR, covariance_b_DD)
    rounding = EPS**0.5 * traces.abs()
    return 0.0 if -rounding <= distance < 0 else distance.item()


def square_root_factor(covariance_DD: Tensor) -> Tensor:
    """L with L L^T = covariance, (D, R) float64.

    Lower triangular with R = D (Cholesky) if the covariance has full rank. Else R is the rank, below D, and L holds
    eigenvectors times the roots of their eigenvalues.
    """
    factor_DD, failed = torch.linalg.cholesky_ex(covariance_DD)
    if not failed:
        return factor_DD
    values_D, vectors_DD = torch.linalg.eigh(covariance_DD)
    # Smaller ones are rounding, by the rule of `numpy.linalg.matrix_rank`; one is, or Cholesky would not have failed.
    real_D = values_D > values_D[-1] * len(values_D) * EPS
    real_D[0] = False
    return vectors_DD[:, real_D] * values_D[real_D].sqrt()


def trace_of_root(factor_DR: Tensor, covariance_DD: Tensor) -> Tensor:
    """tr (L L^T B)^1/2, as the sum of the roots of the eigenvalues of the symmetric L^T B L.

    The product L L^T B itself has the same eigenvalues and is not symmetric: its root costs ten times as much and turns
    complex if a covariance is singular.
    """
    D, R = factor_DR.shape
    if not R:
        return covariance_DD.new_zeros(())
    product_RR = between_triangles(factor_DR, covariance_DD) if R == D else factor_DR.T @ covariance_DD @ factor_DR
    values_R = torch.linalg.eigvalsh(product_RR, UPLO='L')
    # An eigenvalue of 0 comes out as this much, and the root of that would be 1e-8 of the largest root.
    rounding = values_R[-1] * R**0.5 * EPS
    return torch.where(values_R > rounding, values_R, 0).sqrt().sum()


def between_triangles(lower_DD: Tensor, covariance_DD: Tensor) -> Tensor:
    """The lower half of L^T B L for a lower triangular L, panel by panel: a quarter of the operations of two full products."""
    right_DD, product_DD = torch.empty_like(lower_DD), torch.zeros_like(lower_DD)
    for start in range(0, len(lower_DD), PANEL):
        stop = start + PANEL
        left = lower_DD[start:, start:stop]
        right_DD[start:, start:stop] = covariance_DD[start:, start:] @ left
        product_DD[start:stop, :stop] = left.T @ right_DD[start:, :stop]
    return product_DD
