"""Drawing codes in any order, several at a time (Pang et al., 2024)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from fvq_core.errors import UserError

from .layers import KVCache
from .sampling import GuidanceSchedule, Pick, guide


def step_sizes(length: int, steps: int) -> list[int]:
    """How many codes each step draws: few at first, along a cosine; as released, now and then in fewer or more steps.

    Args:
        length: Codes L of an image.
        steps: Steps S; step s of them ends with `floor((1 - cos(pi / 2 (s + 1) / S)) L + 1)` codes, at least one more than the
            one before. -1 draws one code at a time.
    """
    if steps == -1:
        return [1] * length
    sizes: list[int] = []
    done = 0
    while done < length:
        share = 1 - math.cos(math.pi / 2 * min(1.0, (len(sizes) + 1) / steps))
        end = min(length, max(done + 1, math.floor(share * length + 1)))
        sizes.append(end - done)
        done = end
    return sizes


def remaining_sizes(sizes: Sequence[int], known: int) -> list[int]:
    """The steps that are left when the first codes are known."""
    left, end = [], 0
    for size in sizes:
        end += size
        if end > known:
            left.append(min(size, end - known))
    return left


class OrderedModel(Protocol):
    """What drawing in an order asks of a model, which is a module."""

    def new_cache(self, batch: int) -> KVCache: ...

    def class_token(self, cond: Tensor) -> tuple[Tensor, Tensor]:
        """The token (B, 1, D) of a condition, and its rotations (B, 1, P, 2)."""
        ...

    def instructions(self, order_BN: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B, N, D) that ask for the codes of these positions, and their rotations (B, N, P, 2)."""
        ...

    def pairs(self, indices_BN: Tensor, order_BN: Tensor) -> tuple[Tensor, Tensor]:
        """Instructions and codes of these positions in turn, (B, 2 N, D), and their rotations."""
        ...

    def read(self, x_BLD: Tensor, rotations_BLP2: Tensor, cache: KVCache, position: int) -> Tensor:
        """Tokens behind those of the cache up to a position, to features (B, L, D)."""
        ...

    def logits(self, x: Tensor) -> Tensor: ...


@torch.no_grad()
def draw_in_order(
    model: OrderedModel,
    cond: Tensor,
    *,
    order_BL: Tensor,
    sizes: Sequence[int],
    uniforms_BL: Tensor,
    pick: Pick,
    guidance: GuidanceSchedule,
    known_BK: Tensor | None = None,
) -> Tensor:
    """Codes (B, L) in the order in which they are drawn.

    The cache holds what training reads: the class, then an instruction and its code in turn. A step asks for several codes with
    instructions that stand one behind the other; once these are drawn, the same places are written again with pairs.

    Args:
        model: In eval mode.
        cond: (B,), or (2 B,) with the null conditions behind, if `guidance` is active.
        order_BL: The position of the code that is drawn at each number.
        sizes: Codes of each step, together L less those that are known.
        uniforms_BL: One number in [0, 1) for each code in its order, on the model's device.
        pick: See `decoding.decode`.
        guidance: Its scale follows the share of the codes that were done before a step.
        known_BK: The first codes, if some are known.
    """
    (B, L), copies = order_BL.shape, 2 if guidance.active else 1
    codes_BL = torch.empty(B, L, dtype=torch.int64, device=order_BL.device)
    cache, orders = model.new_cache(copies * B), order_BL.repeat(copies, 1)
    x_BLD, rotations = model.class_token(cond)
    done, position = 0, 0
    if known_BK is not None and known_BK.shape[1]:
        done = known_BK.shape[1]
        codes_BL[:, :done] = known_BK
        pairs_BLD, turns = model.pairs(known_BK.repeat(copies, 1), orders[:, :done])
        x_BLD, rotations = torch.cat([x_BLD, pairs_BLD], dim=1), torch.cat([rotations, turns], dim=1)
    for size in sizes:
        places_BN = orders[:, done : done + size]
        asked_BND, turns = model.instructions(places_BN)
        fed_BLD, rotations = torch.cat([x_BLD, asked_BND], dim=1), torch.cat([rotations, turns], dim=1)
        logits = model.logits(model.read(fed_BLD, rotations, cache, position)[:, -size:])
        if guidance.active:
            logits = guide(logits, guidance.scale_at(done, L + 1))
        if not position and not logits.isfinite().all():
            raise UserError(
                'sampling: the logits of the first codes are not finite, so that nothing can be drawn; the weights are broken, '
                'or overflow in this precision.'
            )
        drawn_N = pick(logits.flatten(0, 1), uniforms_BL[:, done : done + size].flatten())
        codes_BL[:, done : done + size] = drawn_N.view(B, size)
        position += x_BLD.shape[1] + 1  # the first instruction stays
        x_BLD, rotations = model.pairs(codes_BL[:, done : done + size].repeat(copies, 1), places_BN)
        x_BLD, rotations = x_BLD[:, 1:], rotations[:, 1:]
        done += size
    return codes_BL
