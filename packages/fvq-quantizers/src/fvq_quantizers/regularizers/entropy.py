"""Entropy regulariser: each latent sure of its code, all codes used alike (MaskGIT, LlamaGen, IBQ)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from fvq_core.errors import UserError
from fvq_core.registry import REGULARIZERS

from ..chunked_softmax import entropies


@REGULARIZERS.register_module()
class EntropyRegularizer(nn.Module):
    """`weight` x (`sample_weight` x mean entropy of a row's soft choice - `batch_weight` x entropy of the mean choice).

    The soft choice is softmax(logits / temperature) over all K codes, logits of the quantizer's distance. A quantizer
    never calls a regulariser of weight 0.

    Args:
        weight: Of the whole term; 0.1 in MaskGIT, 0.05 in IBQ, 0 in LlamaGen and FVQ.
        temperature: 0.01 in all of them.
        sample_weight: Of the rows' own entropy.
        batch_weight: Of the mean choice's entropy.
        eps: Inside the logarithms, as in the released codes.
    """

    def __init__(
        self,
        weight: float,
        temperature: float = 0.01,
        sample_weight: float = 1.0,
        batch_weight: float = 1.0,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        if weight < 0 or temperature <= 0:
            raise UserError(
                f'EntropyRegularizer: weight must be 0 or more and temperature above 0, got {weight} and {temperature}.'
            )
        self.weight, self.temperature, self.eps = weight, temperature, eps
        self.sample_weight, self.batch_weight = sample_weight, batch_weight

    def forward(self, z_ND: Tensor, codebook_KD: Tensor, distance: Any) -> dict[str, Tensor]:
        sample_entropy, batch_entropy = entropies(z_ND, codebook_KD, distance, self.temperature, self.eps)
        return {'entropy': self.weight * (self.sample_weight * sample_entropy - self.batch_weight * batch_entropy)}
