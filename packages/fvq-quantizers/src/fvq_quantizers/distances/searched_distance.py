"""The base of distances that `nearest_code` can search by."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from fvq_core.ops.nearest_code import nearest_code, shift


class SearchedDistance(nn.Module):
    """A subclass defines `kind` and `logits`.

    Attributes:
        kind: Its name in `nearest_code`.
    """

    kind: Literal['l2', 'dot']

    def search(self, z_ND: Tensor, codebook_KD: Tensor) -> Tensor:
        """Indices (N,) of the best codes."""
        return nearest_code(z_ND, codebook_KD, self.kind)

    def shift(self, codebook_KD: Tensor) -> Tensor | None:
        """What `logits` may subtract; see `fvq_core.ops.nearest_code.shift`."""
        return shift(codebook_KD)
