"""A multi-layer perceptron shared by all codes (the `MLP-5` rows of the paper's tables 5 and 10)."""

from __future__ import annotations

from torch import Tensor, nn

from fvq_core.errors import UserError
from fvq_core.registry import PROJECTORS


@PROJECTORS.register_module(name=['MLPProjector', 'MLP'])
class MLPProjector(nn.Module):
    """`depth` linear maps of width D with ReLU between them, on each code alone.

    Args:
        codebook_size: K; not used, every projector is given it.
        code_dim: D.
        depth: Number of linear maps; 5 in the paper.
    """

    def __init__(self, codebook_size: int, code_dim: int, depth: int = 5) -> None:
        super().__init__()
        if depth < 1:
            raise UserError(f'MLPProjector: depth must be at least 1, got {depth}; the paper uses 5.')
        layers: list[nn.Module] = [nn.Linear(code_dim, code_dim)]
        for _ in range(depth - 1):
            layers += [nn.ReLU(), nn.Linear(code_dim, code_dim)]
        self.layers = nn.Sequential(*layers)

    def forward(self, codebook_KD: Tensor) -> Tensor:
        return self.layers(codebook_KD)
