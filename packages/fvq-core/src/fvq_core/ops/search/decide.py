"""The exact code of each row from float32 scores: float64 compares the codes that their errors leave in doubt."""

from __future__ import annotations

import torch
from torch import Tensor

from ..finite import all_finite
from .margin import norm_bound
from .rescore import best_of_pairs, rescore
from .shifted import TILE, Shifted, tile_maxima

FEW_TERMS = 2**16  # products of rows x codes x channels up to which float64 compares all
FEW_SCORES = 2**16  # up to which looking through tiles takes longer than through all
MANY = 8  # candidates a row, on average, from which equal codes are looked for


def top_two(scores_NK: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The best score of each row, (N,), its index, and the second best, whose place in `scores_NK` is left unchanged.

    The best one's place there may be set to minus infinity.
    """
    N, K = scores_NK.shape
    if K < 4 * TILE or K % TILE or N * K <= FEW_SCORES:
        best_N, indices_N = scores_NK.max(1)
        scores_NK.scatter_(1, indices_N[:, None], -torch.inf)
        return best_N, indices_N, scores_NK.amax(1)
    # The index of a maximum takes eight times as long as the maximum: look for it in one tile.
    _, tiles_N, others_N = top_two(tile_maxima(scores_NK))
    inside = scores_NK.view(-1, TILE)[torch.arange(0, N * K // TILE, K // TILE, device=scores_NK.device) + tiles_N]
    best_N, offsets_N, second_N = top_two(inside)
    return best_N, offsets_N.add_(tiles_N, alpha=TILE), torch.maximum(second_N, others_N)


def decide(
    z_ND: Tensor, moved_ND: Tensor, codes: Shifted, scores_NK: Tensor, best_N: Tensor, indices_N: Tensor
) -> Tensor:
    """Write each row's best score and exact code; returns the number of rows in doubt and of their candidates, (2,).

    A row is done if only one code, raised by its error, reaches what the best of all is at least.
    """
    far_F, far_NF = codes.far_F, scores_NK[:, :0]
    if far_F is not None:
        far_NF = scores_NK[:, far_F]
        scores_NK[:, far_F] = -torch.inf
    near_N, near_indices_N, second_N = top_two(scores_NK)
    length_N1 = norm_bound(torch.linalg.vector_norm(moved_ND, dim=1, keepdim=True), z_ND.shape[1])
    error_N = codes.errors(length_N1, codes.near_norm)[:, 0]
    if far_F is None:
        best_N.copy_(near_N)
        indices_N.copy_(near_indices_N)
        least_N = codes.least(near_N - error_N, length_N1[:, 0])
        doubtful_N = ~(second_N + error_N < least_N)
    else:
        torch.maximum(near_N, far_NF.amax(1), out=best_N)
        far_error_NF = codes.errors(length_N1, codes.norms_K[far_F])
        least_N = torch.maximum(near_N - error_N, (far_NF - far_error_NF).amax(1))
        least_N = codes.least(least_N, length_N1[:, 0])
        near_out_N = near_N + error_N < least_N
        reach_NF = ~(far_NF + far_error_NF < least_N[:, None])
        doubtful_N = ~(second_N + error_N < least_N) | (reach_NF.sum(1) + ~near_out_N > 1)
        torch.where(near_out_N, far_F[reach_NF.int().argmax(1)], near_indices_N, out=indices_N)
    if not doubtful_N.any():
        return indices_N.new_zeros(2)
    if not all_finite(best_N):
        indices_N.zero_()  # the caller raises
        return indices_N.new_zeros(2)
    rows_M = doubtful_N.nonzero()[:, 0]
    if len(rows_M) * codes.given_KD.numel() <= FEW_TERMS:
        indices_N[rows_M] = rescore(z_ND[rows_M, None], codes.given_KD, codes.distance).min(1).indices
        return torch.tensor([len(rows_M), len(rows_M) * len(codes.given_KD)])
    own_error_N = codes.errors(length_N1, codes.norms_K[near_indices_N, None])[:, 0]
    least_N = torch.maximum(least_N, codes.least(near_N - own_error_N, length_N1[:, 0]))
    if len(rows_M) < len(z_ND):
        taken = (z_ND, scores_NK, length_N1, least_N, near_N, near_indices_N, far_NF)
        z_ND, scores_NK, length_N1, least_N, near_N, near_indices_N, far_NF = (x[rows_M] for x in taken)
    scores_NK.scatter_(1, near_indices_N[:, None], near_N[:, None])
    if far_F is not None:
        scores_NK[:, far_F] = far_NF
    indices_N[rows_M], candidates = compare(z_ND, codes, scores_NK, length_N1, least_N)
    return torch.tensor([len(rows_M), candidates])


def compare(z_ND: Tensor, codes: Shifted, scores_NK: Tensor, length_N1: Tensor, least_N: Tensor) -> tuple[Tensor, int]:
    """The exact code of each row, and how many codes float64 compared for them.

    A tile stays if its maximum, raised by its error, reaches what the best of all is at least; so does a code in it.
    """
    K = scores_NK.shape[1]
    maxima_NT, error_NT = tile_maxima(scores_NK), codes.errors(length_N1, codes.tile_norms)
    rows_P, tiles_P = (~(maxima_NT.add_(error_NT) < least_N[:, None])).nonzero(as_tuple=True)
    codes_PT = tiles_P[:, None] * TILE + torch.arange(min(TILE, K), device=z_ND.device)
    inside_PT = codes_PT.clamp(max=K - 1)
    reach_PT = scores_NK.flatten()[rows_P[:, None] * K + inside_PT]
    reach_PT += codes.errors(length_N1[rows_P], codes.norms_K[inside_PT])
    pairs_P, offsets_P = (~(reach_PT < least_N[rows_P, None]) & (codes_PT < K)).nonzero(as_tuple=True)
    rows_P, candidates_P = rows_P[pairs_P], codes_PT[pairs_P, offsets_P]
    compared = len(rows_P)
    if compared > MANY * len(z_ND):
        first = codes.first[candidates_P] == candidates_P
        rows_P, candidates_P = rows_P[first], candidates_P[first]
    return best_of_pairs(z_ND, codes.given_KD, rows_P, candidates_P, codes.distance), compared
