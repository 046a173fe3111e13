"""Which positions of a sequence may attend to which."""

from __future__ import annotations

import torch
from torch import Tensor


class CausalMask:
    """Each position attends to itself, and to those before it that are not hidden.

    Args:
        positions: Number of positions of a whole sequence, T.
        prefix: Condition tokens at its start; no other position can be hidden.
        device: Device of the table.
        open_prefix: Whether the condition's tokens see each other, later ones too.

    Attributes:
        causal: Whether no position sees a later one.
    """

    def __init__(self, positions: int, prefix: int, device: torch.device, open_prefix: bool = False) -> None:
        self.prefix, self.causal = prefix, prefix < 2 or not open_prefix
        self.table_TT = torch.ones(positions, positions, dtype=torch.bool, device=device).tril()
        if open_prefix:
            self.table_TT[:prefix, :prefix] = True

    def block(self, position: int, length: int, visible_BT: Tensor | None = None) -> Tensor:
        """What `length` positions from `position` on attend to, of all up to the last of them: bool (L, T), or (B, 1, L, T).

        Args:
            position: The first.
            length: L.
            visible_BT: bool, False for hidden positions.
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
        """What some positions may attend to, of the first `length`: the same if positions are known only on the device."""
        mask_LT = self.table_TT[positions_L, :length]
        if visible_BT is None:
            return mask_LT
        own_LT = positions_L[:, None] == torch.arange(length, device=positions_L.device)
        return ((mask_LT & visible_BT[:, None, :length]) | own_LT)[:, None]
