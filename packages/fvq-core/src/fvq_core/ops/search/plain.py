"""The search in plain torch: a float32 product, a chunk of rows at a time, then float64 where its rounding leaves a doubt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..finite import can_sync
from ..full_precision import full_precision
from .decide import FEW_TERMS, decide
from .rescore import rescore
from .shifted import Shifted

# Scores held at once. 2^23 floats are 32 MiB: enough for full matmul speed on a CPU; a GPU wants larger tiles.
MAX_SCORES = {'cpu': 2**23, 'cuda': 2**27}


@dataclass(frozen=True)
class SearchStats:
    """How much work the search's doubts made.

    Attributes:
        slow_rows: Rows, of those searched, that the first pass left undecided (a scalar on the device).
        candidates: Codes, or tiles of codes, that were compared in float64 (a scalar on the device).
    """

    slow_rows: Tensor
    candidates: Tensor


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
    if certify and z_ND.numel() * len(codebook_KD) <= min(FEW_TERMS, max_scores):
        check(codebook_KD.float().norm(dim=1), z_ND.float().norm(dim=1))
        indices_N = rescore(z_ND[:, None], codebook_KD, distance).min(1).indices
        return indices_N, SearchStats(*torch.tensor([len(z_ND), len(z_ND) * len(codebook_KD)]))
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
