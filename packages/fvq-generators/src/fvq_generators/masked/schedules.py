"""Mask schedules: which share of the codes is masked, from all at progress 0 to none at 1."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..orders import first_of

LEAST = 1e-6
Schedule = Callable[[Tensor, int], Tensor]


def power(exponent: float) -> Schedule:
    """`1 - progress ^ exponent`."""
    return lambda progress, length: 1.0 - progress**exponent


# Progress in [0, 1] and the number of codes to a share. The last two depend on how many codes there are.
SCHEDULES: dict[str, Schedule] = {
    'cosine': lambda progress, length: torch.cos(progress * (math.pi / 2)),
    'arccos': lambda progress, length: torch.arccos(progress) / (math.pi / 2),
    'linear': power(1.0),
    'square': power(2.0),
    'cubic': power(3.0),
    'root': power(0.5),
    'log': lambda progress, length: -torch.log2(progress) / math.log2(length),
    'exp': lambda progress, length: 1.0 - torch.exp2(-math.log2(length) * (1.0 - progress)),
}


def masked_share(schedule: Schedule, progress: Tensor, length: int) -> Tensor:
    """The share that is masked, cut to [1e-6, 1] as in the original.

    Args:
        schedule: One of `SCHEDULES`.
        progress: In [0, 1], any shape and float dtype.
        length: Codes of an image.
    """
    progress = progress.clamp(min=torch.finfo(progress.dtype).tiny)  # of the logarithm
    return schedule(progress, max(2, length)).clamp(LEAST, 1.0)


def draw_masks(batch: int, length: int, schedule: Schedule, each: bool, device: torch.device) -> Tensor:
    """Masks for training, bool (B, L): True where a code is masked.

    The progress of each image is uniform in [0, 1). Of the images' codes the scheduled share, rounded and at least one, is
    masked at random positions; or with `each` every code on its own with that probability, as in Halton-MaskGIT.
    """
    share_B1 = masked_share(schedule, torch.rand(batch, device=device), length)[:, None]
    uniform_BL = torch.rand(batch, length, device=device)
    if each:
        return uniform_BL < share_B1
    return uniform_BL.argsort(dim=-1) < (length * share_B1).round().clamp(min=1)


def normal_share(mean: float, std: float, a: float, b: float) -> float:
    """A share drawn from a normal that is cut to [a, b]."""
    share = torch.empty(())
    nn.init.trunc_normal_(share, mean=mean, std=std, a=a, b=b)
    return share.item()


def hide(batch: int, length: int, device: torch.device, *shares: float) -> list[Tensor]:
    """Random positions of each image, bool (B, L), for each share of them, rounded up; a smaller share lies in a larger."""
    order_BL = torch.rand(batch, length, device=device).argsort(1)
    return [first_of(order_BL, math.ceil(length * share)) for share in shares]


def hidden_counts(length: int, steps: int) -> list[tuple[int, int]]:
    """Hidden tokens before and after each pass: their share falls as a cosine, by one token a pass at least."""
    counts, hidden = [], length
    for step in range(steps):
        after = max(1, min(hidden - 1, math.floor(length * math.cos(math.pi / 2 * (step + 1) / steps))))
        after = 0 if step == steps - 1 else after
        counts.append((hidden, after))
        hidden = after
    return counts
