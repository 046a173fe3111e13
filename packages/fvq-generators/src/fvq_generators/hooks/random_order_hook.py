"""The share of images in a random order, which falls while a RAR or a BAR trains."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook

from fvq_core.errors import UserError
from fvq_core.registry import HOOKS

from ..random_order import RandomOrderGenerator


@HOOKS.register_module()
class RandomOrderHook(Hook):
    """Sets `RandomOrderGenerator.random_share` before each iteration: 1, then linear to 0, then 0.

    Args:
        start: Share of the run after which it falls; RAR: 200 of 400 epochs.
        end: Share of the run from which on all images are in reading order; RAR: 300 of 400 epochs.

    Raises:
        UserError: Shares that are not `0 <= start <= end <= 1`, or a task without such a generator.
    """

    priority = 'VERY_HIGH'

    def __init__(self, start: float = 0.5, end: float = 0.75) -> None:
        if not 0 <= start <= end <= 1:
            raise UserError(f'RandomOrderHook: need 0 <= start <= end <= 1, got {start} and {end}.')
        self.start, self.end = start, end

    def share(self, progress: float) -> float:
        """The share of images in a random order, at a share of the run."""
        if progress < self.start or self.start == self.end:
            return float(progress < self.end)
        return max(0.0, 1.0 - (progress - self.start) / (self.end - self.start))

    def before_train(self, runner: Any) -> None:
        generator = getattr(runner.task, 'generator', None)
        if not isinstance(generator, RandomOrderGenerator):
            raise UserError(
                f'RandomOrderHook: RAR and BAR have orders, this run trains {type(generator).__name__}; drop the hook.'
            )

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        runner.task.generator.random_share = self.share(runner.iter / runner.max_iters)
