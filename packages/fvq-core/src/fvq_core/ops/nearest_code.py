"""The one place that searches a codebook."""

from __future__ import annotations

from functools import partial
from math import isfinite
from typing import Literal

import torch
from torch import Tensor

from ..errors import NonFiniteError, UserError
from .finite import all_finite, can_sync
from .full_precision import full_precision
from .kernels import Kernel
from .search.plain import MAX_SCORES, SearchStats, plain_search
from .search.shift import shift

__all__ = ['MAX_SCORES', 'SearchStats', 'full_precision', 'nearest_code', 'search', 'shift']

KERNEL = Kernel('nearest_code')  # a first pass on tensor cores, and float64 for what it leaves in doubt


@torch.no_grad()
def nearest_code(
    z_ND: Tensor, codebook_KD: Tensor, distance: Literal['l2', 'dot'] = 'l2', max_scores: int | None = None
) -> Tensor:
    """The index of the best code for each vector: smallest Euclidean distance, or largest dot product.

    On a CPU, exact: the lowest index among the codes that float64 calls best, the sum of (z - c)^2 or of z c taken
    channel by channel in one fixed order (`search.rescore`), whatever autocast or TF32 say. So a vector's code does not
    depend on the other vectors, on the number of codes or on `max_scores`. The work is a float32 product, of which at most
    `max_scores` of the N x K scores exist at once, so K = 262,144 costs no more memory than K = 1,024; float64 compares only
    the codes whose scores are closer than that product's proven error (`search.margin`, docs/search.md).

    On a GPU the kernels of `search.two_pass` give the same, with float16 in the first pass and without waiting; `FVQ_KERNELS`
    switches them (`ops.kernels`). Without them, as looking for these codes would wait, the float32 product decides there: a
    code is chosen only if no other is nearer by more, in squared distance, than (D + 4) 2^-23 (|z - m| + |c - m|)^2, with m
    the `shift` of the codebook and c the farther of the two from m.

    Args:
        z_ND: Vectors (N, D), any floating dtype.
        codebook_KD: Codes (K, D).
        distance: Distance or similarity that the best code optimizes.
        max_scores: Scores held at once; by default `MAX_SCORES` of the device.

    Returns:
        int64 indices (N,); no gradient.

    Raises:
        UserError: Shapes, dtypes or devices that do not fit.
        NonFiniteError: On a CPU: vectors or codes that are not finite. Elsewhere looking would wait for the device, and such
            a vector gets some code.
    """
    if torch.compiler.is_compiling():
        check_operands(z_ND, codebook_KD, distance)
        return traced_search(z_ND, codebook_KD, distance, max_scores)
    return search(z_ND, codebook_KD, distance, max_scores)[0]


@torch.no_grad()
def search(
    z_ND: Tensor, codebook_KD: Tensor, distance: str = 'l2', max_scores: int | None = None
) -> tuple[Tensor, SearchStats]:
    """`nearest_code`, and how many rows took the slow path."""
    check_operands(z_ND, codebook_KD, distance)
    check = partial(check_scores, z_ND, codebook_KD, distance)
    plain = partial(plain_search, z_ND, codebook_KD, distance, max_scores, check)
    if not len(z_ND) or not KERNEL.enabled(z_ND.device):
        return plain()

    def launch() -> tuple[Tensor, SearchStats]:
        from .search.two_pass import two_pass_search  # needs Triton

        return two_pass_search(z_ND, codebook_KD, distance)

    if can_sync(z_ND, wait=False):
        check(codebook_KD.float().norm(dim=1), z_ND.float().norm(dim=1))
    return KERNEL.run(launch, plain)


@torch.library.custom_op('fvq::nearest_code', mutates_args=())
def traced_search(z_ND: Tensor, codebook_KD: Tensor, distance: str, max_scores: int | None) -> Tensor:
    """The search as one operator of a compiled graph: how many codes float64 compares depends on the data."""
    return search(z_ND, codebook_KD, distance, max_scores)[0]


@traced_search.register_fake
def _(z_ND: Tensor, codebook_KD: Tensor, distance: str, max_scores: int | None) -> Tensor:
    return z_ND.new_empty(z_ND.shape[0], dtype=torch.int64)


def check_operands(z_ND: Tensor, codebook_KD: Tensor, distance: str) -> None:
    """Raise if these cannot be compared.

    Raises:
        UserError: Naming what does not fit.
    """
    for name, value in (('vectors', z_ND), ('codes', codebook_KD)):
        if not isinstance(value, Tensor):
            raise UserError(
                f'nearest_code: expected {name} as a tensor, got {type(value).__name__}; use torch.as_tensor.'
            )
        if value.dim() != 2 or not value.is_floating_point():
            raise UserError(
                f'nearest_code: expected floating {name} of two dimensions, got {value.dtype} {tuple(value.shape)}; reshape '
                'to one vector a row and call .float().'
            )
    if z_ND.shape[1] != codebook_KD.shape[1] or not len(codebook_KD):
        raise UserError(
            f'nearest_code: expected one or more codes as wide as the vectors, got vectors {tuple(z_ND.shape)} and codes '
            f'{tuple(codebook_KD.shape)}.'
        )
    if z_ND.device != codebook_KD.device:
        raise UserError(
            f'nearest_code: the vectors are on {z_ND.device}, the codes on {codebook_KD.device}; move one of them.'
        )
    if distance not in ('l2', 'dot'):
        raise UserError(f"nearest_code: distance must be 'l2' or 'dot', got {distance!r}.")


def check_scores(z_ND: Tensor, codebook_KD: Tensor, distance: str, norms_K: Tensor, best_N: Tensor) -> None:
    """Raise if a code or a vector was not finite, or too large for its products to be.

    Args:
        z_ND: Vectors.
        codebook_KD: Codes.
        distance: For 'dot' codes may be so large that their squares overflow.
        norms_K: Their lengths.
        best_N: The largest score of each vector; a maximum is NaN if any score is.

    Raises:
        NonFiniteError: Saying which side.
    """
    if isfinite(norms_K.sum() + best_N.sum()):  # nearly always, and cheaper than looking at both
        return
    if not all_finite(norms_K) and not (distance == 'dot' and all_finite(codebook_KD)):
        raise NonFiniteError(
            'nearest_code: the codebook is not finite, or its squares overflow float32; the run diverged or the file is '
            'damaged.'
        )
    if not all_finite(best_N):
        first = int((~best_N.isfinite()).nonzero()[0])
        raise NonFiniteError(
            f'nearest_code: vector {first} of {len(z_ND)} is not finite, or its products overflow float32; the encoder is '
            'broken or overflows.'
        )
