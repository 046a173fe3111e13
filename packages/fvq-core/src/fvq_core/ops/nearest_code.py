"""The one place that searches a codebook."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor

from ..errors import NonFiniteError, UserError
from .finite import all_finite, can_sync

# Scores held at once. 2^23 floats are 32 MiB: enough for full matmul speed on a CPU; a GPU wants larger tiles.
MAX_SCORES = {'cpu': 2**23, 'cuda': 2**27}
SHIFT_CODES = 63  # codes whose medians make the shift
BIAS_CODES = 4096  # squared at a time: a temporary that stays in the cache


@torch.no_grad()
def nearest_code(
    z_ND: Tensor, codebook_KD: Tensor, distance: Literal['l2', 'dot'] = 'l2', max_scores: int | None = None
) -> Tensor:
    """The index of the best code for each vector: smallest Euclidean distance, or largest dot product.

    Exact in float32 whatever autocast or TF32 say, and at most `max_scores` of the N x K scores exist at once, so K =
    262,144 costs no more memory than K = 1,024.

    "Exact" means: with m the `shift` of the codebook, a code is chosen only if no other is nearer by more, in squared
    distance, than float32's rounding of (z - m).(c - m), at most (D + 4) 2^-23 (|z - m| + |c - m|)^2 with c the farther of
    the two from m. Where float64 sees a larger margin, the choice is float64's. Equal scores go to the lowest index. Distances
    do not depend on m, rounding does: without it, codes far from zero could not be told apart. The dot product subtracts m
    from the codes only, which changes all scores of a vector alike. A vector's code does not depend on the other vectors.
    For l2 the constant |z - m|^2 is dropped before comparing: with codes of size 1/K it would swallow their differences.

    Args:
        z_ND: Vectors (N, D), any floating dtype.
        codebook_KD: Codes (K, D).
        distance: Distance or similarity that the best code optimizes.
        max_scores: Scores held at once; by default `MAX_SCORES` of the device.

    Returns:
        int64 indices (N,); no gradient.

    Raises:
        UserError: Shapes, dtypes or devices that do not fit.
        NonFiniteError: On a CPU: vectors or codes that are not finite. Elsewhere looking would wait for the device.
    """
    check_operands(z_ND, codebook_KD, distance)
    if max_scores is None:
        max_scores = MAX_SCORES.get(z_ND.device.type, MAX_SCORES['cpu'])
    rows = max(1, max_scores // codebook_KD.shape[0])
    with full_precision(z_ND.device.type):
        shift_D = shift(codebook_KD)
        codebook_KD = (codebook_KD if shift_D is None else codebook_KD - shift_D).float()
        codes_DK = codebook_KD.t()
        bias_K = None
        if distance == 'l2':
            bias_K = torch.cat([codes.square().sum(1) for codes in codebook_KD.split(BIAS_CODES)]).mul_(-0.5)
        # One buffer for all chunks: fresh ones fragment a CPU's heap until it holds far more than one of them.
        scores = codebook_KD.new_empty(min(rows, len(z_ND)), len(codebook_KD))
        best_N, indices_N = codebook_KD.new_empty(len(z_ND)), z_ND.new_empty(len(z_ND), dtype=torch.int64)
        for z, best, indices in zip(z_ND.split(rows), best_N.split(rows), indices_N.split(rows), strict=True):
            z = (z if shift_D is None or distance == 'dot' else z - shift_D).float()
            part = scores[: len(z)]
            if bias_K is None:
                torch.mm(z, codes_DK, out=part)
            else:
                torch.addmm(bias_K, z, codes_DK, out=part)
            torch.max(part, 1, out=(best, indices))  # on a CPU half the time of argmax
    if can_sync(z_ND, wait=False):
        check_scores(z_ND, codebook_KD if bias_K is None else bias_K, best_N)
    return indices_N


def shift(codebook_KD: Tensor) -> Tensor | None:
    """A vector (D,), float32, near most codes; None for zero, as far as that is known without waiting.

    Per channel it is the median of a few codes, so that a far code does not move it, rounded to a multiple of a power of two
    as large as their spread. So it is zero for codes around zero, subtracting it loses no bit, and it is the same on every
    device and rank.
    """
    few_DM = codebook_KD.detach()[:: -(-len(codebook_KD) // SHIFT_CODES)].t().float().contiguous()
    middle = few_DM.shape[1] // 2
    median_D = few_DM.sort(1).values[:, middle]
    spread_D = (few_DM - median_D[:, None]).abs().sort(1).values[:, middle]
    step_D = torch.ldexp(torch.ones_like(spread_D), torch.frexp(spread_D).exponent + 1)
    shift_D = torch.where(spread_D > 0, (median_D / step_D).round() * step_D, median_D)
    return None if can_sync(shift_D, wait=False) and not shift_D.any() else shift_D


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


def check_scores(z_ND: Tensor, codes: Tensor, best_N: Tensor) -> None:
    """Raise if a code or a vector was not finite, or too large for its products to be.

    Args:
        z_ND: Vectors.
        codes: The codes, or their squared lengths.
        best_N: The largest score of each vector; a maximum is NaN if any score is.

    Raises:
        NonFiniteError: Saying which side.
    """
    if not all_finite(codes):
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


@contextmanager
def full_precision(device_type: str) -> Iterator[None]:
    """Float32 means float32 inside: autocast off, and no TF32 or bfloat16 inside matrix products."""
    mkldnn: Any = torch.backends.mkldnn  # a module whose class torch swaps at import; only then has it `matmul`
    backends = (torch.backends.cuda.matmul, mkldnn.matmul)
    before = [backend.fp32_precision for backend in backends]
    for backend in backends:
        backend.fp32_precision = 'ieee'
    try:
        known = torch.amp.is_autocast_available(device_type)  # not so for the meta device
        with torch.autocast(device_type, enabled=False) if known else nullcontext():
            yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision
