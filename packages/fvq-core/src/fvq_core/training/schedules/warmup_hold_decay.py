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
    """`lr_multiplier` on every parameter group's learning rate, per iteration.

    Args:
        optimizer: The optimizer or its wrapper.
        total_iters: Length of the run; the Runner fills in its `max_iters`, so a config never repeats it.
        warmup: See `lr_multiplier`, as for the arguments below. The paper's is 0.1; table 9's row without is 0.
        warmup_factor: 0.005 in the paper.
        hold: 0.3 in the paper.
        end_factor: 0.01 in the paper.
        decay: `'linear'` in the paper; `'none'` in its rows without annealing.
        last_step: For resuming.
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
        if warmup < 0 or hold < 0:
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
