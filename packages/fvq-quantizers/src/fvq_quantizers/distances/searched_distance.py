"""What distances share whose best codes `nearest_code` finds."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from fvq_core.ops.nearest_code import nearest_code, shift


class SearchedDistance(nn.Module):
    """A subclass has `logits`.

    Attributes:
        kind: What `nearest_code` calls it.
    """

    kind: Literal['l2', 'dot']

    def search(self, z_ND: Tensor, codebook_KD: Tensor) -> Tensor:
        """Indices (N,) of the best codes."""
        return nearest_code(z_ND, codebook_KD, self.kind)

    def shift(self, codebook_KD: Tensor) -> Tensor | None:
        """What `logits` may subtract; see `fvq_core.ops.nearest_code.shift`."""
        return shift(codebook_KD)
