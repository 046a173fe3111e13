"""Drawing codes in any order, several at a time (Pang et al., 2024)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from fvq_core.errors import UserError

from .decoding import Logits, StaticSteps
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

    def read(self, x_BLD: Tensor, rotations_BLP2: Tensor, cache: KVCache, position: int | Tensor) -> Tensor:
        """Tokens behind those of the cache up to a position, a number or (1,) on the device, to features (B, L, D)."""
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
    steps: StaticSteps | None = None,
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
        steps: Compiled steps; None runs each operation by itself. The first step, which reads what is known, is not compiled.
    """
    (B, L), guided = order_BL.shape, guidance.active
    codes_BL = torch.empty(B, L, dtype=torch.int64, device=order_BL.device)
    cache = model.new_cache(len(cond)) if steps is None else steps.cache(model, len(cond))
    following = following_logits(model, cache, guided)
    x_BLD, rotations = model.class_token(cond)
    done = 0
    if known_BK is not None and known_BK.shape[1]:
        done = known_BK.shape[1]
        codes_BL[:, :done] = known_BK
        pairs_BLD, turns = model.pairs(twice(known_BK, guided), twice(order_BL[:, :done], guided))
        x_BLD, rotations = torch.cat([x_BLD, pairs_BLD], dim=1), torch.cat([rotations, turns], dim=1)
    before, first = 0, True
    for size in sizes:
        asked_BM = order_BL[:, done : done + size]
        scale, uniforms_N = guidance.scale_at(done, L + 1), uniforms_BL[:, done : done + size].flatten()
        if first:
            logits_NV = answers(model, x_BLD, rotations, twice(asked_BM, guided), cache, 0, scale if guided else None)
            if not logits_NV.isfinite().all():
                raise UserError(
                    'sampling: the logits of the first codes are not finite, so that nothing can be drawn; the weights are '
                    'broken, or overflow in this precision.'
                )
            drawn_N = pick(logits_NV, uniforms_N)
        else:
            # Class and pairs up to these; their first instruction is already there.
            inputs = (codes_BL[:, before:done], order_BL[:, before:done], asked_BM, 2 * before + 2, scale)
            if steps is None:
                drawn_N = pick(following(*inputs), uniforms_N)
            else:
                drawn_N = steps.find(cache, guided, pick, following)(uniforms_N, *inputs)
        codes_BL[:, done : done + size] = drawn_N.view(B, size)
        before, done, first = done, done + size, False
    return codes_BL


def following_logits(model: OrderedModel, cache: KVCache, guided: bool) -> Logits:
    """A function of the last codes, their positions, those to ask for, the place in the cache and the scale: logits."""

    def logits(
        codes_BN: Tensor, places_BN: Tensor, asked_BM: Tensor, position: int | Tensor, scale: float | Tensor
    ) -> Tensor:
        x_BLD, rotations = model.pairs(twice(codes_BN, guided), twice(places_BN, guided))
        asked_BM = twice(asked_BM, guided)
        return answers(model, x_BLD[:, 1:], rotations[:, 1:], asked_BM, cache, position, scale if guided else None)

    return logits


def answers(
    model: OrderedModel,
    x_BLD: Tensor,
    rotations: Tensor,
    asked_BM: Tensor,
    cache: KVCache,
    position: int | Tensor,
    scale: float | Tensor | None,
) -> Tensor:
    """Read tokens, then instructions of M positions; logits of their codes (B M, V), guided if there is a scale."""
    asked_BMD, turns = model.instructions(asked_BM)
    fed_BLD, rotations = torch.cat([x_BLD, asked_BMD], dim=1), torch.cat([rotations, turns], dim=1)
    logits_BMV = model.logits(model.read(fed_BLD, rotations, cache, position)[:, -asked_BM.shape[1] :])
    return (logits_BMV if scale is None else guide(logits_BMV, scale)).flatten(0, 1)


def twice(rows_BN: Tensor, guided: bool) -> Tensor:
    """Rows for the batch with the condition, and if it is guided for that without."""
    return rows_BN.repeat(2, 1) if guided else rows_BN
