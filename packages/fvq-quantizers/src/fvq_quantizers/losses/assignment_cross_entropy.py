"""The cross-entropy of the assigned codes (`loss_q_type: ce` of OptVQ's code)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fvq_core.registry import QUANTIZER_LOSSES

from ..chunked_softmax import over_row_chunks


class CodebookLoss(nn.Module):
    """The base class of losses that compare with all codes: they are called with the mapped codebook (K, D) as well."""

    def after_step(self) -> None:
        """Called after each training forward pass of a quantizer that learns."""


@QUANTIZER_LOSSES.register_module()
class AssignmentCrossEntropy(CodebookLoss):
    """-log softmax(-|z - e|) of the code that a latent was assigned, over all codes, with gradients to latents and codes.

    Distances are Euclidean, not squared. No N x K matrix is kept: a chunk of rows at a time, computed again backwards.
    """

    def forward(self, z_ND: Tensor, code_vectors_ND: Tensor, z_q_ND: Tensor, codebook_KD: Tensor) -> dict[str, Tensor]:
        """The mean over latents, a scalar; the other arguments are `VQLoss.forward`'s."""

        def log_sums(chunk: Tensor) -> Tensor:
            return (-torch.cdist(chunk, codebook_KD)).logsumexp(1)

        log_sums_N = torch.cat(over_row_chunks(log_sums, z_ND, len(codebook_KD)))
        return {'assignment': ((z_ND - code_vectors_ND).norm(dim=1) + log_sums_N).mean()}
