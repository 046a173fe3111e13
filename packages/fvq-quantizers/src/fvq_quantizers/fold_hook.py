"""Folding the projector in the middle of training: the mapped codebook becomes what is trained."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from mmengine.hooks import Hook
from torch import nn

from fvq_core.errors import UserError
from fvq_core.projector import find_projectors
from fvq_core.registry import HOOKS
from fvq_core.training.hooks import EMAHook


@HOOKS.register_module()
class FoldHook(Hook):
    """After a fraction of the run the mapped codebook replaces projector and raw codebook, and is trained directly.

    Codes do not change at that moment. The optimizer's state of the projector is dropped; the codebook starts with a fresh one
    in the group of the raw codebook, under the same schedule. A checkpoint records whether it is folded, so a run resumes
    exactly before and after, and evaluation and export read either. Needs one process, and no moving average of the weights.

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
        if runner.task.tokenizer.require_quantizer('FoldHook').frozen:
            raise UserError('FoldHook: model.freeze keeps the quantizer as it is; drop one of the two.')
        if any(isinstance(hook, EMAHook) for hook in runner.hooks):
            raise UserError(
                'FoldHook: a moving average cannot follow weights that are replaced; set default_hooks.ema=None.'
            )

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if not self.folded and runner.iter + 1 >= max(1, round(self.at * runner.max_iters)):
            self._fold(runner)
            done = f'iter {runner.iter + 1}'
            runner.logger.info(f'{done}: folded the projector; training continues on the mapped codebook')

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


def fold_for_training(tokenizer: Any) -> None:
    """Replace a tokenizer's quantizer by its fold, in place, with the mapped codebooks as trained parameters.

    Codes and pixels are the same right before and right after.

    Raises:
        UserError: There is no projector to fold, or the quantizer refuses (a class-conditional bridge without a label).
    """
    quantizer = tokenizer.quantizer
    if all(projector.is_identity for projector in find_projectors(quantizer)):
        name = type(quantizer).__name__
        raise UserError(f'FoldHook: {name} has no projector to fold; drop the hook or give it a projector.')
    tokenizer.quantizer = quantizer.fold().train(quantizer.training)


def exchange_parameters(optimizer: torch.optim.Optimizer, old: nn.Module, new: nn.Module) -> None:
    """Make an optimizer train the parameters of `new` instead of those of `old`.

    A parameter that both have under one name takes the place of the old one in its group, and keeps its state if its
    values are the same. Those that only `old` has leave. The number of groups stays, because schedules count them; one
    may be left empty.
    """
    fresh = dict(new.named_parameters())
    successors = {parameter: fresh.get(name) for name, parameter in old.named_parameters()}
    successors |= {parameter: parameter for parameter in fresh.values()}
    for group in optimizer.param_groups:
        params = []
        for parameter in group['params']:
            successor = successors.get(parameter, parameter)
            if successor is not None:
                params.append(successor)
            if successor is not parameter:
                state = optimizer.state.pop(parameter, None)
                if successor is not None and state is not None and torch.equal(parameter, successor):
                    optimizer.state[successor] = state
        group['params'] = params
