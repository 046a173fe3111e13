"""The search in plain torch: a float32 product, a chunk of rows at a time, then float64 where its rounding leaves a doubt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..finite import can_sync
from ..full_precision import full_precision
from .margin import SLACK, float32_error, norm_bound, rescoring_error, underflow
from .rescore import best_of_pairs, first_of_equal
from .shift import shift

# Scores held at once. 2^23 floats are 32 MiB: enough for full matmul speed on a CPU; a GPU wants larger tiles.
MAX_SCORES = {'cpu': 2**23, 'cuda': 2**27}
TILE = 64  # codes whose maximum is looked at; reduces at memory speed on a CPU
MANY = 8  # candidates a row, on average, from which equal codes are looked for


@dataclass(frozen=True)
class SearchStats:
    """How much work the search's doubts made.

    Attributes:
        slow_rows: Rows, of those searched, that the first pass left undecided (a scalar on the device).
        candidates: Codes, or tiles of codes, that were compared in float64 (a scalar on the device).
    """

    slow_rows: Tensor
    candidates: Tensor


class Shifted:
    """A codebook as the float32 product wants it."""

    def __init__(self, codebook_KD: Tensor, distance: str, certify: bool) -> None:
        self.given_KD, self.distance, self.shift_D = codebook_KD, distance, shift(codebook_KD)
        self.codes_KD = (codebook_KD if self.shift_D is None else codebook_KD - self.shift_D).float()
        D = codebook_KD.shape[1]
        # On a CPU a tenth of the time of squares and their sum.
        norms_K = torch.linalg.vector_norm(self.codes_KD, dim=1)
        self.bias_K = norms_K.square().mul_(-0.5) if distance == 'l2' else None
        self.norms_K = norm_bound(norms_K, D)
        self.tile_norms_T = tile_maxima(self.norms_K[None])[0]
        self.shift_norm = 0.0 if self.shift_D is None or not certify else self.shift_D.double().norm().item()

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


def plain_search(
    z_ND: Tensor, codebook_KD: Tensor, distance: str, max_scores: int | None, check: Callable[[Tensor, Tensor], None]
) -> tuple[Tensor, SearchStats]:
    """The best codes, (N,), and what that took. On a CPU exact; elsewhere, as it may not wait, float32's first maximum.

    Args:
        check: Called on a CPU with the codes' largest squared lengths and the rows' best scores, to refuse what is not finite.
    """
    if max_scores is None:
        max_scores = MAX_SCORES.get(z_ND.device.type, MAX_SCORES['cpu'])
    rows = max(1, max_scores // codebook_KD.shape[0])
    certify = can_sync(z_ND, wait=False)
    with full_precision(z_ND.device.type):
        codes = Shifted(codebook_KD, distance, certify)
        # One buffer for all chunks: fresh ones fragment a CPU's heap until it holds far more than one of them.
        scores = codes.codes_KD.new_empty(min(rows, len(z_ND)), len(codebook_KD))
        best_N, indices_N = scores.new_empty(len(z_ND)), z_ND.new_empty(len(z_ND), dtype=torch.int64)
        doubts = [z_ND.new_zeros(2, dtype=torch.int64)]
        for z, best, indices in zip(z_ND.split(rows), best_N.split(rows), indices_N.split(rows), strict=True):
            moved = codes.latents(z)
            part = codes.scores(moved, scores[: len(z)])
            if certify:
                doubts.append(decide(z, moved, codes, part, best, indices))
            else:
                torch.max(part, 1, out=(best, indices))
    if certify:
        check(codes.norms_K, best_N)
    slow, candidates = torch.stack(doubts).sum(0)
    return indices_N, SearchStats(slow, candidates)


def decide(
    z_ND: Tensor, moved_ND: Tensor, codes: Shifted, scores_NK: Tensor, best_N: Tensor, indices_N: Tensor
) -> Tensor:
    """Write each row's best score and exact code; returns the number of rows in doubt and of their candidates, (2,).

    A tile stays if its maximum, raised by its error, reaches what the best of all is at least; so does a code in it. Rows
    that keep one code are done.
    """
    (N, K), D, T = scores_NK.shape, z_ND.shape[1], codes.tile_norms_T
    maxima_NT = tile_maxima(scores_NK)
    torch.amax(maxima_NT, 1, out=best_N)
    if not best_N.isfinite().all():
        indices_N.zero_()  # the caller raises
        return indices_N.new_zeros(2)
    length_N1 = norm_bound(torch.linalg.vector_norm(moved_ND, dim=1, keepdim=True), D)
    error_NT = length_N1 * (T * float32_error(D))
    if codes.distance == 'l2':
        error_NT += T.square() * float32_error(D)
    error_NT += (1 + length_N1 + T) * underflow(D)
    if codes.distance == 'dot':
        error_NT += length_N1 * (T + codes.shift_norm) * rescoring_error(D)
    least_N1 = (maxima_NT - error_NT).amax(1, keepdim=True)
    if codes.distance == 'l2':
        least_N1 -= SLACK * rescoring_error(D) * (length_N1.square() + least_N1.abs())
    upper_NT = maxima_NT.add_(error_NT)
    rows_P, tiles_P = (~(upper_NT < least_N1)).nonzero(as_tuple=True)
    codes_PT = tiles_P[:, None] * TILE + torch.arange(min(TILE, K), device=z_ND.device)
    if K % TILE:
        reach_PT = scores_NK.flatten()[rows_P[:, None] * K + codes_PT.clamp(max=K - 1)]
    else:  # whole rows are read faster than numbers
        reach_PT = scores_NK.view(-1, TILE)[rows_P * (K // TILE) + tiles_P]
    reach_PT += error_NT[rows_P, tiles_P][:, None]
    pairs_P, offsets_P = (~(reach_PT < least_N1[rows_P]) & (codes_PT < K)).nonzero(as_tuple=True)
    rows_P, candidates_P = rows_P[pairs_P], codes_PT[pairs_P, offsets_P]
    indices_N[rows_P] = candidates_P
    counts_N = torch.bincount(rows_P, minlength=N)
    doubtful_N = counts_N > 1
    if doubtful_N.any():
        unsure = doubtful_N[rows_P]
        rows_P, candidates_P = rows_P[unsure], candidates_P[unsure]
        if len(rows_P) > MANY * N:
            first = codes.first[candidates_P] == candidates_P
            rows_P, candidates_P = rows_P[first], candidates_P[first]
        indices_N[doubtful_N] = best_of_pairs(z_ND, codes.given_KD, rows_P, candidates_P, codes.distance)[doubtful_N]
    return torch.stack([doubtful_N.sum(), counts_N[doubtful_N].sum()])
