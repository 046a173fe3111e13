"""Warm-up, hold, decay: the learning annealing of the paper (section 3, table 6, table 9)."""

from __future__ import annotations

import math
from typing import Any, Literal

from ...errors import UserError, nearest_hint
from ...registry import PARAM_SCHEDULERS
from .run_lr import RunLR

DECAYS = ('linear', 'cosine', 'none')


def lr_multiplier(
    step: int,
    total: int,
    *,
    warmup: float = 0.1,
    warmup_factor: float = 0.005,
    hold: float = 0.3,
    end_factor: float = 0.01,
    decay: Literal['linear', 'cosine', 'none'] = 'linear',
) -> float:
    """The factor on the base learning rate at `step` of `total`, 0 <= step < total.

    With W warm-up steps: `warmup_factor + (1 - warmup_factor) step / W` for step < W. After that, with
    f = (step - W) / (total - 1 - W): 1 while f < `hold`, then down to `end_factor`, which the last step reaches exactly.
    Equal to the released schedule to 4e-16.

    Args:
        step: 0-based step.
        total: Steps of the run.
        warmup: W as a fraction of `total` below 1, or a count of steps from 1 on; 0 for none.
        warmup_factor: Factor at step 0.
        hold: Held fraction of the steps after the warm-up, below 1, or a count of steps.
        end_factor: Factor at the last step.
        decay: `'linear'`, `'cosine'`, or `'none'`: no decay after the warm-up.
    """
    warmup_steps = round(warmup * total) if warmup < 1 else int(warmup)
    if step < warmup_steps:
        return warmup_factor + (1.0 - warmup_factor) * step / warmup_steps
    remaining = total - 1 - warmup_steps
    if decay == 'none' or remaining <= 0:
        return 1.0
    progress = (step - warmup_steps) / remaining
    held = hold if hold < 1 else hold / remaining
    if progress < held:
        return 1.0
    u = min(1.0, (progress - held) / (1.0 - held)) if held < 1.0 else 0.0
    if decay == 'linear':
        return 1.0 - (1.0 - end_factor) * u
    return end_factor + (1.0 - end_factor) * 0.5 * (1.0 + math.cos(math.pi * u))


@PARAM_SCHEDULERS.register_module()
class WarmupHoldDecayLR(RunLR):
    """`lr_multiplier` on every parameter group's learning rate, per iteration; see there and `RunLR` for the arguments.

    The defaults are the paper's. Its row without warm-up in table 9 has `warmup=0`, those without annealing `decay='none'`.
    """

    def __init__(
        self,
        optimizer: Any,
        total_iters: int,
        warmup: float = 0.1,
        warmup_factor: float = 0.005,
        hold: float = 0.3,
        end_factor: float = 0.01,
        decay: Literal['linear', 'cosine', 'none'] = 'linear',
        last_step: int = -1,
    ) -> None:
        if decay not in DECAYS:
            raise UserError(f"WarmupHoldDecayLR: unknown decay '{decay}'; {nearest_hint(decay, DECAYS)}")
        if not (0 <= warmup < math.inf and hold >= 0):
            raise UserError(f'WarmupHoldDecayLR: warmup and hold must be 0 or more, got {warmup} and {hold}.')
        if not (0 <= warmup_factor <= 1 and 0 <= end_factor <= 1):
            raise UserError(
                f'WarmupHoldDecayLR: warmup_factor and end_factor must lie in [0, 1], got {warmup_factor} and {end_factor}.'
            )
        self.shape: dict[str, Any] = dict(
            warmup=warmup, warmup_factor=warmup_factor, hold=hold, end_factor=end_factor, decay=decay
        )
        super().__init__(optimizer, total_iters, last_step)

    def factor(self, step: int) -> float:
        return lr_multiplier(step, self.total_iters, **self.shape)
