"""A multi-layer perceptron shared by all codes (the `MLP-5` rows of the paper's tables 5 and 10)."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from fvq_core.errors import UserError
from fvq_core.projector import Projector
from fvq_core.registry import PROJECTORS


@PROJECTORS.register_module(name=['MLPProjector', 'MLP'])
class MLPProjector(Projector):
    """(K, source_dim) to (K, code_dim) by `depth` linear maps with ReLU between them, each code by itself.

    VQGAN-LC's two-layer map is `depth=2, hidden_dim=256` with the width of its features as `source_dim`.

    Args:
        depth: Number of linear maps; 5 in the paper.
        source_dim: Width of the raw codebook; D by default.
        hidden_dim: Width between the maps; D by default, as in the paper.
    """

    def __init__(
        self,
        codebook_size: int,
        code_dim: int,
        depth: int = 5,
        source_dim: int | None = None,
        hidden_dim: int | None = None,
    ) -> None:
        super().__init__(codebook_size, code_dim, source_dim)
        if depth < 1:
            raise UserError(f'MLPProjector: depth must be at least 1, got {depth}; the paper uses 5.')
        hidden_dim = code_dim if hidden_dim is None else hidden_dim
        widths = [self.source_dim, *[hidden_dim] * (depth - 1), code_dim]
        if min(widths) < 1:
            raise UserError(
                f'MLPProjector: source_dim and hidden_dim must be 1 or more, got {self.source_dim} and {hidden_dim}.'
            )
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, codebook_KD: Tensor) -> Tensor:
        return self.layers(codebook_KD)
