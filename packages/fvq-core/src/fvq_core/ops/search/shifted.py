"""A codebook as the float32 product wants it, and how far that product may be off."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from .margin import SLACK, float32_error, norm_bound, rescoring_error, underflow
from .rescore import first_of_equal
from .shift import SHIFT_CODES, shift

TILE = 64  # codes whose maximum is looked at; reduces at memory speed on a CPU
FAR = 4.0  # times the median length: a code set apart, if these are no more than `FAR_CODES`
FAR_CODES = 16


class Shifted:
    """The codes less their `shift`, their norms and the largest errors of their scores."""

    def __init__(self, codebook_KD: Tensor, distance: str, certify: bool) -> None:
        self.given_KD, self.distance, self.shift_D = codebook_KD, distance, shift(codebook_KD)
        self.codes_KD = (codebook_KD if self.shift_D is None else codebook_KD - self.shift_D).float()
        D = codebook_KD.shape[1]
        # On a CPU a tenth of the time of squares and their sum.
        norms_K = torch.linalg.vector_norm(self.codes_KD, dim=1)
        self.bias_K = norms_K.square().mul_(-0.5) if distance == 'l2' else None
        self.norms_K = norm_bound(norms_K, D)
        if certify:
            self.shift_norm = 0.0 if self.shift_D is None else self.shift_D.double().norm().item()
            self.set_far_codes_apart()

    def set_far_codes_apart(self) -> None:
        """Find a few codes far longer than the others, which would raise the error of all."""
        self.near_norm = self.norms_K.max()
        self.far_F: Tensor | None = None
        median = self.norms_K[:: -(-len(self.norms_K) // SHIFT_CODES)].median()
        if self.near_norm > FAR * median:
            far_K = self.norms_K > FAR * median
            far_F = far_K.nonzero()[:, 0]
            if len(far_F) <= FAR_CODES:
                self.near_norm, self.far_F = self.norms_K.masked_fill(far_K, 0).max(), far_F

    def errors(self, length_N1: Tensor, norms: Tensor) -> Tensor:
        """How far scores may be from the exact ones, of latents and codes no longer than these; for dot float64's too."""
        D, g = self.codes_KD.shape[1], float32_error(self.codes_KD.shape[1])
        if self.distance == 'l2':
            slope, rest = norms * g + underflow(D), norms.square() * g + (1 + norms) * underflow(D)
        else:
            slope = norms * (g + rescoring_error(D)) + self.shift_norm * rescoring_error(D) + underflow(D)
            rest = (1 + norms) * underflow(D)
        return torch.addcmul(rest, length_N1, slope)

    def least(self, scores_N: Tensor, length_N: Tensor) -> Tensor:
        """For l2, lower these so that codes below them stay below in float64's rounding; `errors` has it for dot."""
        if self.distance == 'dot':
            return scores_N
        return scores_N - (length_N.square() + scores_N.abs()) * (SLACK * rescoring_error(self.codes_KD.shape[1]))

    @cached_property
    def tile_norms(self) -> Tensor:
        return tile_maxima(self.norms_K[None])[0]

    @cached_property
    def first(self) -> Tensor:
        return first_of_equal(self.given_KD)

    def latents(self, z_ND: Tensor) -> Tensor:
        return (z_ND if self.shift_D is None or self.distance == 'dot' else z_ND - self.shift_D).float()

    def scores(self, z_ND: Tensor, out_NK: Tensor) -> Tensor:
        codes_DK = self.codes_KD.t()
        if self.bias_K is None:
            return torch.mm(z_ND, codes_DK, out=out_NK)
        return torch.addmm(self.bias_K, z_ND, codes_DK, out=out_NK)


def tile_maxima(scores_NK: Tensor) -> Tensor:
    """The largest of each `TILE` scores, (N, T)."""
    K = scores_NK.shape[1]
    whole = K // TILE * TILE
    maxima = scores_NK[:, :whole].unflatten(1, (K // TILE, TILE)).amax(2) if whole else scores_NK[:, :0]
    return maxima if whole == K else torch.cat([maxima, scores_NK[:, whole:].amax(1, keepdim=True)], 1)
