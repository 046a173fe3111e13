"""One linear map shared by all codes (SimVQ, Zhu et al., 2024b; the `linear` rows of the paper's table 5)."""

from __future__ import annotations

from torch import Tensor, nn

from fvq_core.registry import PROJECTORS


@PROJECTORS.register_module(name=['LinearProjector', 'Linear'])
class LinearProjector(nn.Module):
    """(K, source_dim) to (K, code_dim) by one `nn.Linear` with torch's default start.

    Args:
        codebook_size: K; not used, every projector is given it.
        code_dim: D.
        bias: SimVQ has one, the FVQ release does not (K x D^2 multiply-accumulates either way: table 10's 1.07 G).
        source_dim: Width of the raw codebook; D by default, else e.g. the width of frozen features (VQGAN-LC).
    """

    def __init__(self, codebook_size: int, code_dim: int, bias: bool = True, source_dim: int | None = None) -> None:
        super().__init__()
        self.source_dim = code_dim if source_dim is None else source_dim
        self.map = nn.Linear(self.source_dim, code_dim, bias=bias)

    def forward(self, codebook_KD: Tensor) -> Tensor:
        return self.map(codebook_KD)
