"""Step decay: the learning rate falls by a factor at given parts of the run (IBQ, Open-MAGVIT2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...errors import UserError
from ...registry import PARAM_SCHEDULERS
from .run_lr import RunLR


@PARAM_SCHEDULERS.register_module()
class StepDecayLR(RunLR):
    """`gamma` to the power of the milestones that the run has passed; see `RunLR` for the other arguments.

    Args:
        milestones: Parts of the run, each above 0 and below 1; IBQ's epochs 250 and 300 of 330 are `(250 / 330, 300 / 330)`.
        gamma: Factor at each; 0.1 in IBQ.
    """

    def __init__(
        self, optimizer: Any, total_iters: int, milestones: Sequence[float], gamma: float = 0.1, last_step: int = -1
    ) -> None:
        if not all(0.0 < milestone < 1.0 for milestone in milestones):
            raise UserError(
                f'StepDecayLR: milestones are parts of the run between 0 and 1, got {list(milestones)}; '
                'divide epochs by the epochs of the run.'
            )
        self.milestones, self.gamma = tuple(milestones), gamma
        super().__init__(optimizer, total_iters, last_step)

    def factor(self, step: int) -> float:
        return self.gamma ** sum(step >= milestone * self.total_iters for milestone in self.milestones)
