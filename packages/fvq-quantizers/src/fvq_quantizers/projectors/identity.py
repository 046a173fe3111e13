"""No projector: the codebook is trained directly, as in VQ-VAE (van den Oord et al., 2017)."""

from __future__ import annotations

from torch import Tensor, nn

from fvq_core.registry import PROJECTORS


@PROJECTORS.register_module(name=['IdentityProjector', 'Identity'])
class IdentityProjector(nn.Module):
    """Returns the codebook as it is."""

    is_identity = True

    def __init__(self, codebook_size: int, code_dim: int) -> None:
        super().__init__()

    def forward(self, codebook_KD: Tensor) -> Tensor:
        return codebook_KD
