"""Masked decoding: all codes of an image in a few passes over it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from ..layers import join_code
from ..sampling import COLDEST, Sampler
from .code_embedding import CodeEmbedding
from .draws import Draws
from .settings import MaskedSampling, Step


class GuidedLogits(Protocol):
    """Logits of some codes of each image, float32 (B, N, outputs), guided if the scale is not 1."""

    def __call__(self, indices_BL: Tensor, rows_BN: Tensor, scale: float) -> Tensor: ...


def decode(
    logits: GuidedLogits,
    codes: CodeEmbedding,
    start_BL: Tensor,
    settings: MaskedSampling,
    plan: Sequence[Step],
    draws: Draws,
    order_L: Tensor | None = None,
) -> Tensor:
    """Draw the codes that are masked, int64 (B, L).

    Logits are computed only where a step draws: at masked codes, and in a fixed order only at the next ones.

    Args:
        logits: The model.
        codes: Its vocabulary; `vocab_size` stands for the mask.
        start_BL: Codes that are given, and masks.
        settings: How codes are drawn and chosen.
        plan: The steps.
        draws: Their random numbers.
        order_L: Positions in the order in which they are drawn, instead of by confidence.
    """
    V, redraw = codes.vocab_size, settings.order == 'redraw'
    indices_BL, open_BL = start_BL, start_BL == V
    totals = open_BL.sum(1).tolist()  # the only time that the device is waited for
    queue_BN = None if order_L is None else queue(order_L, open_BL, max(totals), settings, draws)
    known = [0] * len(totals)  # codes of each image that are drawn
    for number, step in enumerate(plan):
        last = number + 1 == len(plan)
        before = known
        known = [
            all_ if last else reached(settings, step, number, all_, n) for all_, n in zip(totals, before, strict=True)
        ]
        masked_BL = indices_BL == V
        if queue_BN is not None:
            places_N = torch.arange(min(before), max(known), device=start_BL.device)
            rows_BN = queue_BN[:, places_N]
            valid_BN = (places_N >= column(before, places_N)) & (places_N < column(known, places_N))
        else:
            drawable_BL = open_BL if redraw else masked_BL
            rows_BN = true_first(drawable_BL, max(totals if redraw else differences(totals, before)))
            valid_BN = drawable_BL.gather(1, rows_BN)
        if not rows_BN.shape[1]:
            continue
        drawn_BN, confidence_BN = draw_codes(
            logits(indices_BL, rows_BN, step.scale), codes, rows_BN, settings, step, number, draws
        )
        indices_BL = indices_BL.scatter(1, rows_BN, torch.where(valid_BN, drawn_BN, indices_BL.gather(1, rows_BN)))
        if queue_BN is None and not last:
            confidence_BN = confidence_BN.double().masked_fill(~masked_BL.gather(1, rows_BN), torch.inf)
            confidence_BL = torch.full_like(indices_BL, torch.inf, dtype=torch.float64).scatter(
                1, rows_BN, confidence_BN
            )
            lowest_BL = (confidence_BL + step.noise * draws.noise(number)).argsort(dim=1, stable=True)
            indices_BL = mask_first(indices_BL, lowest_BL, differences(totals, known), V)
    return indices_BL.clamp(max=V - 1)  # a mask that was drawn


def reached(settings: MaskedSampling, step: Step, number: int, total: int, before: int) -> int:
    """How many of `total` codes are drawn behind a step that is not the last; `before` of them were drawn before it."""
    if settings.order == 'confidence':  # one more at least, and one at least is left
        masked = total - before
        return total - min(masked, max(1, min(masked - 1, int(total * step.share))))
    share = 1.0 - torch.tensor(step.share, dtype=torch.float32)
    return max(before, min(total, max(number + 1, int(share * total))))


def draw_codes(
    logits_BNO: Tensor,
    codes: CodeEmbedding,
    rows_BN: Tensor,
    settings: MaskedSampling,
    step: Step,
    number: int,
    draws: Draws,
) -> tuple[Tensor, Tensor]:
    """Codes of some positions and how confident the model is of each, both (B, N).

    Args:
        logits_BNO: float32, guided.
        codes: The vocabulary.
        rows_BN: The positions.
        settings: How codes are drawn.
        step: The step of decoding.
        number: Its number.
        draws: The random numbers.
    """
    by_logit = settings.choice == 'logit'
    temperature = step.noise if by_logit else float(step.temperature > 0)
    sampler = Sampler(temperature if temperature >= COLDEST else 0.0, settings.top_k, settings.top_p)
    if step.temperature not in (0.0, 1.0):
        logits_BNO = logits_BNO / step.temperature
    sizes = list(codes.factors)
    if logits_BNO.shape[-1] > sum(sizes):
        if settings.order == 'confidence':
            logits_BNO = logits_BNO[..., :-1]  # the mask is not drawn
        else:
            sizes[0] += 1
    parts, confidence_BN = [], torch.zeros((), device=logits_BNO.device)
    for part, logits_BNV in enumerate(logits_BNO.split(sizes, dim=-1)):
        parts.append(draws.codes(number, part, logits_BNV, rows_BN, sampler))
        confidence_BN = confidence_BN + logits_BNV.gather(-1, parts[-1][..., None])[..., 0]
        if not by_logit:
            confidence_BN = confidence_BN - logits_BNV.logsumexp(-1)
    return join_code(parts, codes.factors), confidence_BN


def queue(order_L: Tensor, open_BL: Tensor, count: int, settings: MaskedSampling, draws: Draws) -> Tensor:
    """The open positions of each image in the order in which they are drawn, (B, count), padded with others."""
    order_BL = order_L.expand_as(open_BL)
    if settings.random_start:
        order_BL = order_L[(torch.arange(len(order_L), device=order_L.device) - draws.starts()[:, None]) % len(order_L)]
    return order_BL.gather(1, true_first(open_BL.gather(1, order_BL), count))


def true_first(mask_BL: Tensor, count: int) -> Tensor:
    """Positions that are True, in order, and then others: int64 (B, count)."""
    return (~mask_BL).byte().argsort(dim=1, stable=True)[:, :count]


def mask_first(indices_BL: Tensor, order_BL: Tensor, counts: Sequence[int], mask: int) -> Tensor:
    """Codes with as many of each image's first positions of an order masked."""
    rows_BN = order_BL[:, : max(counts)]
    places_N = torch.arange(rows_BN.shape[1], device=rows_BN.device)
    kept_BN = indices_BL.gather(1, rows_BN)
    return indices_BL.scatter(1, rows_BN, kept_BN.masked_fill(places_N < column(counts, places_N), mask))


def column(numbers: Sequence[int], like: Tensor) -> Tensor:
    """Whole numbers as (B, 1), on the device of `like`."""
    return torch.tensor(numbers, device=like.device)[:, None]


def differences(larger: Sequence[int], smaller: Sequence[int]) -> list[int]:
    return [a - b for a, b in zip(larger, smaller, strict=True)]
