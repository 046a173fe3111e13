"""One linear map shared by all codes (SimVQ, Zhu et al., 2024b; the `linear` rows of the paper's table 5)."""

from __future__ import annotations

from torch import Tensor, nn

from fvq_core.errors import UserError
from fvq_core.projector import Projector
from fvq_core.registry import PROJECTORS


@PROJECTORS.register_module(name=['LinearProjector', 'Linear'])
class LinearProjector(Projector):
    """(K, source_dim) to (K, code_dim) by one `nn.Linear`.

    Args:
        bias: As in SimVQ and the FVQ release (K x D^2 multiply-accumulates either way: the 1.07 G of table 10).
        source_dim: Width of the raw codebook; D by default, else e.g. the width of frozen features (VQGAN-LC).
        std: Initialize the weights from N(0, std^2), in VQGAN-LC with D^-1/2; torch's default otherwise.
    """

    def __init__(
        self,
        codebook_size: int,
        code_dim: int,
        bias: bool = True,
        source_dim: int | None = None,
        std: float | None = None,
    ) -> None:
        super().__init__(codebook_size, code_dim, source_dim)
        if self.source_dim < 1 or (std is not None and not std >= 0):
            raise UserError(
                f'LinearProjector: source_dim must be 1 or more and std 0 or more, got {source_dim} and {std}.'
            )
        self.map = nn.Linear(self.source_dim, code_dim, bias=bias)
        if std is not None:
            nn.init.normal_(self.map.weight, std=std)

    def forward(self, codebook_KD: Tensor) -> Tensor:
        return self.map(codebook_KD)
