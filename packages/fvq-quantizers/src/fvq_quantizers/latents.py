"""What quantizers share: checks of latents, codebooks and codes, and latents as vectors."""

from __future__ import annotations

from torch import Tensor

from fvq_core.codes import Codes, Grid, Positions, Sequence, check_is_codes
from fvq_core.errors import NonFiniteError, UserError
from fvq_core.ops.finite import all_finite, can_sync, check_finite_images, is_deferred, judge_evidence
from fvq_core.quantizer import Quantizer
from fvq_core.quantizer import to_vectors as to_vectors


def check_latent(quantizer: Quantizer, z_BDHW: Tensor) -> Positions:
    """The positions of a latent; raises unless the quantizer takes it."""
    name = type(quantizer).__name__
    if not isinstance(z_BDHW, Tensor) or not z_BDHW.is_floating_point():
        given = z_BDHW.dtype if isinstance(z_BDHW, Tensor) else type(z_BDHW).__name__
        raise UserError(f'{name}: expected a float latent (B, {quantizer.code_dim}, H, W), got {given}.')
    if z_BDHW.dim() not in (3, 4) or z_BDHW.shape[1] != quantizer.code_dim:
        raise UserError(
            f'{name}: expected (B, {quantizer.code_dim}, H, W) or (B, {quantizer.code_dim}, L), got {tuple(z_BDHW.shape)}.'
        )
    if not z_BDHW.numel():
        raise UserError(f'{type(quantizer).__name__}: expected at least one image, got a latent {tuple(z_BDHW.shape)}.')
    check_finite(quantizer, z_BDHW, 'the latents', z_BDHW.shape[0])
    return Grid(*z_BDHW.shape[2:]) if z_BDHW.dim() == 4 else Sequence(z_BDHW.shape[2])


def check_finite(quantizer: Quantizer, values: Tensor, what: str, images: int) -> None:
    """Raise a NonFiniteError naming the first image with values that are not finite: NaN would silently give some code.

    Nothing is checked in training off the CPU, which would wait for the device in each step (there the training loop checks
    the largest latent now and then), nor while a graph is traced or recorded.
    """
    if can_sync(values, wait=not quantizer.training):
        cause = 'the weights are broken, or overflow in this precision'
        check_finite_images(values, f'{type(quantizer).__name__}: {what}', images, cause)


def check_codebook(quantizer: Quantizer, codebook_KD: Tensor, wait: bool = True) -> Tensor:
    """The codebook itself; in eval mode raises if a code is not finite, off the CPU only if the caller may `wait`."""

    def judge(broken_K: Tensor) -> None:
        if broken_K.any():
            raise NonFiniteError(
                f'{type(quantizer).__name__}: {int(broken_K.sum())} of {len(broken_K)} codes are not finite, the first is '
                f'{int(broken_K.nonzero()[0])}; the run diverged or the file is damaged.'
            )

    checked = not quantizer.training and can_sync(codebook_KD, wait)
    if checked and (is_deferred(codebook_KD) or not all_finite(codebook_KD)):
        judge_evidence(~codebook_KD.detach().isfinite().all(1), judge)
    return codebook_KD


def check_codes(quantizer: Quantizer, codes: Codes, wait: bool = True) -> Positions:
    """The positions of the latent of codes; raises unless the quantizer could have made them. See `check_indices`."""
    check_is_codes(type(quantizer).__name__, codes)
    layout, positions = codes.layout, codes.layout.positions
    if not isinstance(positions, Grid | Sequence) or layout.vocabularies != quantizer.vocabularies:
        raise UserError(
            f'{type(quantizer).__name__}: cannot embed {layout}; expected a Grid or Sequence with vocabularies '
            f'{quantizer.vocabularies}.'
        )
    check_indices(quantizer, codes, wait)
    return positions


def check_indices(quantizer: Quantizer, codes: Codes, wait: bool = True) -> None:
    """Raise if indices are not of their layout.

    Off the CPU only their shape is checked if the quantizer is in training, or if not `wait`, for what a generator reads in
    each of its training steps.
    """
    if can_sync(codes.indices_BL, wait=wait and not quantizer.training):
        codes.layout.check(codes.indices_BL)
    else:
        codes.layout.check_shape(codes.indices_BL)


def to_latent(z_ND: Tensor, positions: Positions) -> Tensor:
    """The inverse of `to_vectors`, contiguous: a decoder keeps the memory format of its input."""
    return z_ND.view(-1, *positions.shape, z_ND.shape[1]).movedim(-1, 1).contiguous()
