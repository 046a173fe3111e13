"""Which places of a sequence may look at which."""

from __future__ import annotations

import torch
from torch import Tensor


class CausalMask:
    """Each place looks at itself, and at those before it that are not hidden.

    Args:
        places: Of a whole sequence, T.
        prefix: Condition tokens at its start; no other place can be hidden.
        device: Of the table.
    """

    def __init__(self, places: int, prefix: int, device: torch.device) -> None:
        self.prefix = prefix
        self.table_TT = torch.ones(places, places, dtype=torch.bool, device=device).tril()

    def block(self, position: int, length: int, visible_BT: Tensor | None = None) -> Tensor:
        """What `length` places from `position` on may look at, of all up to the last of them: bool (L, T), or (B, 1, L, T).

        Args:
            position: The first.
            length: L.
            visible_BT: bool, False for hidden places.
        """
        end = position + length
        causal_LT = self.table_TT[position:end, :end]
        if visible_BT is None:
            return causal_LT
        if length == 1 and position >= self.prefix:  # a code sees itself anyway
            return visible_BT[:, None, None, :end]
        own_LT = causal_LT & ~self.table_TT.tril(-1)[position:end, :end]
        return ((causal_LT & visible_BT[:, None, :end]) | own_LT)[:, None]

    def rows(self, positions_L: Tensor, length: int, visible_BT: Tensor | None = None) -> Tensor:
        """What some places may look at, of the first `length`: the same for positions that are known on the device alone."""
        mask_LT = self.table_TT[positions_L, :length]
        if visible_BT is None:
            return mask_LT
        own_LT = positions_L[:, None] == torch.arange(length, device=positions_L.device)
        return ((mask_LT & visible_BT[:, None, :length]) | own_LT)[:, None]
