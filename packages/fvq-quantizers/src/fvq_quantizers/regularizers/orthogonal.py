"""Orthogonal regularizer: codes that point in different directions (Shin et al., 2021, arXiv 2112.00384, eq. 2)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvq_core.errors import UserError
from fvq_core.registry import REGULARIZERS


@REGULARIZERS.register_module()
class OrthogonalRegularizer(nn.Module):
    """`weight` x |E E^T - I|^2 / K^2 of the normalized codes E (K, D): 0 if they are orthogonal, at most 1 - 1/K.

    Only codes get a gradient. |E E^T|^2 = |E^T E|^2, so the cost is K D^2 and no K x K matrix is made.

    Args:
        weight: Weight of the term; 10 in vector-quantize-pytorch's example.
        active_only: Only the codes that this rank's batch uses (K is then their number). Costs another search, and waits
            for the device.
        max_codes: Draw at most this many codes at each step; all by default.
    """

    def __init__(self, weight: float, active_only: bool = False, max_codes: int | None = None) -> None:
        super().__init__()
        if weight < 0 or (max_codes is not None and max_codes < 1):
            raise UserError(
                f'OrthogonalRegularizer: weight must be 0 or more and max_codes 1 or more, got {weight} and {max_codes}.'
            )
        self.weight, self.active_only, self.max_codes = weight, active_only, max_codes

    def forward(self, z_ND: Tensor, codebook_KD: Tensor, distance: Any) -> dict[str, Tensor]:
        if self.active_only:
            codebook_KD = codebook_KD[distance.search(z_ND.detach(), codebook_KD.detach()).unique()]
        if self.max_codes is not None and codebook_KD.shape[0] > self.max_codes:
            drawn = torch.randperm(codebook_KD.shape[0], device=codebook_KD.device)[: self.max_codes]
            codebook_KD = codebook_KD[drawn]
        units_KD = F.normalize(codebook_KD, dim=1)
        K = units_KD.shape[0]
        return {'orthogonal': self.weight * ((units_KD.t() @ units_KD).square().sum() / K**2 - 1.0 / K)}
