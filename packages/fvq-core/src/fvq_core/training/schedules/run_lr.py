"""Base of the schedules: a factor on the learning rate that depends on the step and the length of the run."""

from __future__ import annotations

from typing import Any

from mmengine.optim.scheduler.param_scheduler import _ParamScheduler

POSITION = ('last_step', '_global_step', '_last_value')


class RunLR(_ParamScheduler):
    """`factor(step)` on every parameter group's learning rate, per iteration.

    Args:
        total_iters: Length of the run; the Runner fills in its `max_iters`, so a config never repeats it.
        last_step: Last step of the run that is resumed; -1 to start.
    """

    def __init__(self, optimizer: Any, total_iters: int, last_step: int = -1) -> None:
        self.total_iters = total_iters
        super().__init__(optimizer, 'lr', last_step=last_step, by_epoch=False)

    def factor(self, step: int) -> float:
        """The factor on the base learning rate at a 0-based step."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """The position of the schedule; its shape and length come from the config of the run that resumes."""
        return {key: vars(self)[key] for key in POSITION}

    def _get_value(self) -> list[float]:
        factor = self.factor(self.last_step)
        return [group[f'initial_{self.param_name}'] * factor for group in self.optimizer.param_groups]
