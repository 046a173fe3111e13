"""Folds the projector during training, and goes on with a plain codebook."""

from __future__ import annotations

from typing import Any

import torch.distributed as dist
from mmengine.hooks import Hook

from ...errors import UserError
from ...registry import HOOKS
from ..folding import exchange_parameters, fold_for_training
from .ema_hook import EMAHook


@HOOKS.register_module()
class FoldHook(Hook):
    """After a fraction of the run the mapped codebook replaces projector and raw codebook, and is trained directly.

    Codes do not change at that moment. The optimizer's state of the projector is dropped; the codebook starts with a fresh one
    in the group of the raw codebook, under the same schedule. A checkpoint records whether it is folded, so a run
    resumes exactly before and after, and evaluation and export read either.
    It works with one process and without a moving average of the weights.

    Args:
        at: Fraction of the run, in (0, 1]. At 1 the fold comes after the last step, as it does without this hook.
    """

    priority = 'HIGH'  # before the averages, logs and evaluations of its iteration

    def __init__(self, at: float = 0.2) -> None:
        if not 0.0 < at <= 1.0:
            raise UserError(f'FoldHook: at must lie in (0, 1], got {at}; 0.2 folds after a fifth of the run.')
        self.at, self.folded = at, False

    def before_run(self, runner: Any) -> None:
        if dist.is_initialized() and dist.get_world_size() > 1:
            raise UserError('FoldHook: the ranks average gradients of the parameters they began with; use one process.')
        runner.task.tokenizer.require_quantizer('FoldHook')
        if any(isinstance(hook, EMAHook) for hook in runner.hooks):
            raise UserError(
                'FoldHook: a moving average cannot follow weights that are replaced; set default_hooks.ema=None.'
            )

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if not self.folded and runner.iter + 1 >= max(1, round(self.at * runner.max_iters)):
            self._fold(runner)
            done = f'iter {runner.iter + 1}'
            runner.logger.info(f'{done}: the projector is folded; the mapped codebook is trained from here')

    def _fold(self, runner: Any) -> None:
        tokenizer = runner.task.tokenizer
        old = tokenizer.quantizer
        fold_for_training(tokenizer)
        exchange_parameters(runner.optim_wrapper['tokenizer'].optimizer, old, tokenizer.quantizer)
        self.folded = True

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint['folded'] = self.folded

    def before_resume(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Called before weights and optimizer are loaded, which may be those of the folded model."""
        if checkpoint.get('folded') and not self.folded:
            self._fold(runner)
