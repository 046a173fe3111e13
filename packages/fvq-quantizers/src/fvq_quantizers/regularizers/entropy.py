"""Entropy regularizer: confident assignments, uniform code usage (MaskGIT, LlamaGen, LFQ, IBQ)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from fvq_core.errors import UserError
from fvq_core.registry import REGULARIZERS


@REGULARIZERS.register_module()
class EntropyRegularizer(nn.Module):
    """`weight` x (`sample_weight` x mean entropy of a row's soft choice - `batch_weight` x entropy of the mean choice).

    The soft choice is softmax(logits / temperature) over all K codes; the logits are those of the quantizer's distance: minus
    the squared distance, or the dot product. The mean choice is over all ranks. A quantizer never calls a regularizer of
    weight 0.

    The published forms differ less than their code suggests:

    - MaskGIT (l2 logits): weight 0.1, temperature 0.01, both weights 1, eps 1e-5. It adds eps to the logits before their
      log-softmax, which changes nothing, and to the mean choice inside its logarithm.
    - LlamaGen (l2 logits): the same, at weight 0 in every released config.
    - IBQ, Open-MAGVIT2 (dot logits): the same formula with named weights; 0.05 in IBQ, 0.1 in Open-MAGVIT2, whose LFQ
      needs no codebook for its logits (`LFQ`).
    - vector-quantize-pytorch's LFQ: log(max(p, eps)) in both entropies, `clamp=True`; its `diversity_gamma` is `batch_weight`.

    Args:
        weight: Weight of the whole term.
        temperature: Softmax temperature; 0.01 in all of them.
        sample_weight: Weight of the rows' own entropy; 1 in all of them.
        batch_weight: Weight of the mean choice's entropy; 1 in all of them.
        eps: Used inside the logarithms, above 0; 1e-5 in all of them.
        clamp: Clamp probabilities at eps instead of adding it.
    """

    def __init__(
        self,
        weight: float,
        temperature: float = 0.01,
        sample_weight: float = 1.0,
        batch_weight: float = 1.0,
        eps: float = 1e-5,
        clamp: bool = False,
    ) -> None:
        super().__init__()
        if weight < 0 or temperature <= 0 or eps <= 0:
            raise UserError(
                'EntropyRegularizer: weight must be 0 or more, temperature and eps above 0, got '
                f'{weight}, {temperature} and {eps}.'
            )
        self.weight, self.temperature, self.eps, self.clamp = weight, temperature, eps, clamp
        self.sample_weight, self.batch_weight = sample_weight, batch_weight

    def forward(self, z_ND: Tensor, codebook_KD: Tensor, distance: Any) -> dict[str, Tensor]:
        from ..soft_choices import entropies

        sample_entropy, batch_entropy = entropies(
            z_ND, codebook_KD, distance, self.temperature, self.eps, clamp=self.clamp
        )
        return {'entropy': self.weight * (self.sample_weight * sample_entropy - self.batch_weight * batch_entropy)}
