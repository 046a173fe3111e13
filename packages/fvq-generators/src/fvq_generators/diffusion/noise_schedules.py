"""How much noise each step of a diffusion process adds."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from fvq_core.errors import UserError, nearest_hint

CPU = torch.device('cpu')  # also while a model is built without memory, on the meta device
MAX_BETA = 0.999  # the last step of the cosine schedule, and of a short linear one, would erase everything


def linear(steps: int) -> Tensor:
    """1e-4 to 0.02 for 1,000 steps, and the same total for others (Ho et al., 2020; DiT)."""
    return torch.linspace(0.1 / steps, 20 / steps, steps, dtype=torch.float64, device=CPU)


def sqrt_linear(steps: int) -> Tensor:
    """Whose square roots are linear, 0.0015 to 0.0195 (latent diffusion's class-conditional models, RCG)."""
    return torch.linspace(0.0015**0.5, 0.0195**0.5, steps, dtype=torch.float64, device=CPU) ** 2


def cosine(steps: int) -> Tensor:
    """So that the share of the signal falls as a squared cosine (Nichol and Dhariwal, 2021, equation 17; MAR)."""
    t = torch.arange(steps + 1, dtype=torch.float64, device=CPU) / steps
    signal = torch.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2
    return 1 - signal[1:] / signal[:-1]


SCHEDULES: dict[str, Callable[[int], Tensor]] = dict(linear=linear, sqrt_linear=sqrt_linear, cosine=cosine)


def betas(schedule: str, steps: int) -> Tensor:
    """Variance of the noise that each step adds: float64 (T,).

    Raises:
        UserError: An unknown schedule, or fewer than two steps.
    """
    if schedule not in SCHEDULES:
        raise UserError(f"diffusion: unknown schedule '{schedule}'; {nearest_hint(schedule, SCHEDULES)}")
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 2:
        raise UserError(f'diffusion: a process has 2 steps or more, got {steps!r}.')
    return SCHEDULES[schedule](steps).clamp(max=MAX_BETA)


def kept_steps(steps: int, count: int) -> list[int]:
    """`count` of the steps of a process, evenly spread from its first to its last (ADM's respacing); one is the last.

    Raises:
        UserError: More than there are, or none.
    """
    check_count(steps, count)
    if count == 1:
        return [steps - 1]  # of all steps, only the last knows pure noise
    stride, kept, position = (steps - 1) / (count - 1), [], 0.0
    for _ in range(count):
        kept.append(round(position))
        position += stride
    return kept


def strided_steps(steps: int, count: int) -> list[int]:
    """Every `steps // count`-th step of a process from its second on (latent diffusion's DDIM): some more than `count` if that
    does not divide `steps`.

    Raises:
        UserError: More than there are, or none.
    """
    check_count(steps, count)
    return [steps - 1] if count == 1 else list(range(1, steps, steps // count))


def check_count(steps: int, count: int) -> None:
    """Raise unless a process of `steps` can be gone through in `count`."""
    if not 1 <= count <= steps:
        raise UserError(
            f'sampling: expected 1 to {steps} steps, those of the process the model was trained on, got {count}.'
        )
