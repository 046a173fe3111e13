"""No projector: the codebook is trained directly, as in VQ-VAE (van den Oord et al., 2017)."""

from __future__ import annotations

from torch import Tensor

from fvq_core.projector import Projector
from fvq_core.registry import PROJECTORS


@PROJECTORS.register_module(name=['IdentityProjector', 'Identity'])
class IdentityProjector(Projector):
    """Returns the codebook as it is."""

    is_identity = True

    def __init__(self, codebook_size: int, code_dim: int) -> None:  # always as wide as its codes
        super().__init__(codebook_size, code_dim)

    def forward(self, codebook_KD: Tensor) -> Tensor:
        return codebook_KD
