"""Orders in which codes are drawn: for each image a permutation of its positions."""

from __future__ import annotations

import torch
from torch import Tensor

from fvq_core.errors import UserError

ORDERS = ('random', 'raster')
WHOLE = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def draw_orders(kind: str, uniforms_BL: Tensor) -> Tensor:
    """Orders (B, L) of a kind of `ORDERS`; a random one follows from an image's own numbers."""
    if kind == 'random':
        return uniforms_BL.argsort(1)
    return torch.arange(uniforms_BL.shape[1], device=uniforms_BL.device).expand(uniforms_BL.shape)


def check_order(owner: str, order_BL: Tensor, batch: int, length: int) -> Tensor:
    """Orders (B, L) from such, or from one (L,) for all images; raises unless each is a permutation."""
    wanted = torch.arange(length, device=order_BL.device)
    whole = order_BL.dtype in WHOLE and order_BL.shape in ((length,), (batch, length))
    if not whole or not (order_BL.sort(-1).values == wanted).all():
        raise UserError(
            f'{owner}: an order is a permutation of the {length} positions, whole numbers ({length},) or ({batch}, {length}); '
            f'got {order_BL.dtype} {tuple(order_BL.shape)}{"" if not whole else " with a position twice or out of range"}.'
        )
    return order_BL.long().expand(batch, length)


def kept_first(order_BL: Tensor, keep_BL: Tensor) -> tuple[Tensor, list[tuple[int, Tensor]]]:
    """Orders in which the kept codes stand before the others, and (how many are kept, images) of images that keep as many."""
    drawn_BL = ~keep_BL.gather(1, order_BL)
    order_BL = order_BL.gather(1, drawn_BL.to(torch.uint8).argsort(dim=1, stable=True))
    counts_B = keep_BL.sum(1)
    return order_BL, [(int(count), (counts_B == count).nonzero()[:, 0]) for count in counts_B.unique()]


def first_of(order_BL: Tensor, count: int) -> Tensor:
    """bool (B, L): the positions that come first in an order."""
    first_BL = torch.zeros_like(order_BL, dtype=torch.bool)
    return first_BL.scatter_(1, order_BL[:, :count], True)
