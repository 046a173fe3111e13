"""Contrastive regularizer of CVQ-VAE (Zheng and Vedaldi, 2023, eq. 8): codes near their best latents, far from the worst."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvq_core.errors import UserError
from fvq_core.ops.ranks import gather_over_ranks
from fvq_core.registry import REGULARIZERS

from ..chunked_softmax import over_row_chunks
from ..shifted_logits import shifted_logits


@REGULARIZERS.register_module()
class ContrastiveRegularizer(nn.Module):
    """`weight` x mean over codes of -log(e^pos / (e^pos + sum e^neg)), scores over `temperature`.

    For each code, pos is the mean score of its best N // K latents (at least one), neg are the scores of its worst half. The
    score is what the search compares: minus the squared distance or, as released, the cosine (`CosineSearch` with
    `DotProduct`). Latents come from all ranks and get no gradient, as released. Codes are taken in chunks that the backward
    pass recomputes.

    Args:
        weight: Weight of the term; 1 in CVQ, if used.
        temperature: Divides the scores; 0.07 as released.
    """

    def __init__(self, weight: float = 1.0, temperature: float = 0.07) -> None:
        super().__init__()
        if weight < 0 or temperature <= 0:
            raise UserError(
                f'ContrastiveRegularizer: weight must be 0 or more and temperature above 0, got {weight} and {temperature}.'
            )
        self.weight, self.temperature = weight, temperature

    def forward(self, z_ND: Tensor, codebook_KD: Tensor, distance: Any) -> dict[str, Tensor]:
        z_ND = gather_over_ranks(z_ND)
        N, K = z_ND.shape[0], codebook_KD.shape[0]
        best, worst, logits_of = max(1, N // K), N // 2, shifted_logits(distance, codebook_KD)

        def chunk(codes: Tensor) -> Tensor:
            # With codes and latents exchanged, logits lack a constant per code, which cancels in the loss.
            scores = logits_of(codes, z_ND).sort(1).values / self.temperature
            logits = torch.cat([scores[:, N - best :].mean(1, keepdim=True), scores[:, :worst]], 1)
            return F.cross_entropy(logits, logits.new_zeros(len(codes), dtype=torch.int64), reduction='sum')

        terms = over_row_chunks(chunk, codebook_KD, N)
        return {'contrastive': self.weight * torch.stack(terms).sum() / K}
