"""Writes `iter_N.pth` at an interval and at the end, and keeps the newest few."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook

from ...errors import UserError
from ...files.atomic import remove_leftovers
from ...registry import HOOKS
from ..checkpoint import CheckpointError, list_checkpoints


@HOOKS.register_module()
class CheckpointHook(Hook):
    """Checkpoints are written after the evaluation of their iteration.

    Args:
        interval: Iterations between checkpoints; the last iteration is always saved, and so is one after which a signal stops
            the run. If one cannot be written (a full disk), that is an error there and a warning otherwise.
        max_keep: Number of newest checkpoints to keep; 0 keeps all. At least 2, so that a broken newest one has a fallback.
    """

    priority = 'VERY_LOW'

    def __init__(self, interval: int = 1000, max_keep: int = 3) -> None:
        if interval < 1 or max_keep < 0 or max_keep == 1:
            raise UserError(
                f'CheckpointHook: interval must be 1 or more and max_keep 0 or at least 2, got {interval} and {max_keep}.'
            )
        self.interval, self.max_keep = interval, max_keep

    def before_train(self, runner: Any) -> None:
        if is_main_process():
            remove_leftovers(Path(runner.work_dir))

    def after_iteration(self, runner: Any) -> None:
        """Called by the training loop when an iteration, its hooks and its evaluation are done."""
        last = runner.iter == runner.max_iters or runner.train_loop.stopping
        if runner.iter % self.interval and not last:
            return
        runner.call_hook('before_checkpoint')
        try:
            runner.save_checkpoint(runner.work_dir, f'iter_{runner.iter}.pth')
        except CheckpointError as error:
            if last:
                raise
            runner.logger.warning(f'{error} Training goes on; the next try is in {self.interval} iterations.')
        if self.max_keep and is_main_process():
            for path in list_checkpoints(runner.work_dir)[self.max_keep :]:
                path.unlink()
