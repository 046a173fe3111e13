"""A quantizer of somebody else's package, for latents on grids and in sequences."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvq_core.codes import Codes, Grid, Sequence
from fvq_core.nearest_code import nearest_code
from fvq_core.quantizer import Quantizer, QuantizerOutput
from fvq_core.registry import PROJECTORS, QUANTIZERS


@QUANTIZERS.register_module()
class OutsideQuantizer(Quantizer):
    """The nearest code by squared distance; the gradient passes straight through."""

    def __init__(self, codebook_size: int, code_dim: int, projector: Mapping[str, Any]) -> None:
        super().__init__()
        self.codebook_size, self.code_dim = codebook_size, code_dim
        self.projector = PROJECTORS.build(projector, codebook_size=codebook_size, code_dim=code_dim)
        self.embedding_KD = nn.Parameter(torch.randn(codebook_size, code_dim))

    @property
    def vocabularies(self) -> tuple[int, ...]:
        return (self.codebook_size,)

    def codebook(self) -> Tensor:
        return self.projector(self.embedding_KD)

    def forward(self, z_BDHW: Tensor) -> QuantizerOutput:
        codebook_KD, z_BDHW = self.codebook(), z_BDHW.float()
        z_ND = z_BDHW.flatten(2).transpose(1, 2).reshape(-1, self.code_dim)
        indices_BL = nearest_code(z_ND.detach(), codebook_KD.detach()).view(len(z_BDHW), -1)
        positions = Grid(*z_BDHW.shape[2:]) if z_BDHW.dim() == 4 else Sequence(z_BDHW.shape[2])
        z_q_BDHW = self.vectors(codebook_KD, indices_BL).view_as(z_BDHW)
        losses = {}
        if self.training:
            losses = {
                'codebook': F.mse_loss(z_q_BDHW, z_BDHW.detach()),
                'commitment': F.mse_loss(z_BDHW, z_q_BDHW.detach()),
            }
            z_q_BDHW = z_BDHW + (z_q_BDHW - z_BDHW).detach()
        return QuantizerOutput(z_q_BDHW, Codes(indices_BL, self.layout(positions)), z_BDHW, losses)

    def vectors(self, codebook_KD: Tensor, indices_BL: Tensor) -> Tensor:
        """Code vectors (B, D, L)."""
        return F.embedding(indices_BL, codebook_KD).transpose(1, 2).contiguous()

    def embed(self, codes: Codes) -> Tensor:
        return self.vectors(self.codebook(), codes.indices_BL).unflatten(2, codes.layout.positions.shape)

    def fold(self, label: int | None = None) -> OutsideQuantizer:
        folded = copy.deepcopy(self)
        folded.embedding_KD = nn.Parameter(self.codebook().detach().clone())
        folded.projector = PROJECTORS.build(
            dict(type='IdentityProjector'), codebook_size=self.codebook_size, code_dim=self.code_dim
        )
        return folded.eval()
