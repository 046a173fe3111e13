"""A projector of somebody else's package."""

import torch
from torch import Tensor, nn

from fvq_core.projector import Projector
from fvq_core.registry import PROJECTORS


@PROJECTORS.register_module()
class OutsideProjector(Projector):
    """Each channel of the codes times a learned factor."""

    def __init__(self, codebook_size: int, code_dim: int) -> None:
        super().__init__(codebook_size, code_dim)
        self.factors_D = nn.Parameter(torch.ones(code_dim))

    def forward(self, codebook_KD: Tensor) -> Tensor:
        return codebook_KD * self.factors_D
