"""Schedules that count steps, made as long as the run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.hooks import Hook

from fvq_core.errors import UserError
from fvq_core.registry import HOOKS


@HOOKS.register_module()
class RunLengthHook(Hook):
    """Sets numbers of steps of the tokenizer's parts to shares of the run, so that a schedule fits runs of any length.

    Args:
        shares: For the path of a number in the tokenizer, such as `quantizer.temperature_steps`, the share of the run's
            training forwards (iterations x micro-batches), in (0, 1].

    Raises:
        UserError: A share out of range, or a path that leads to no whole number.
    """

    def __init__(self, shares: Mapping[str, float]) -> None:
        for path, share in shares.items():
            if not 0.0 < share <= 1.0:
                raise UserError(
                    f'RunLengthHook: expected a share in (0, 1] for {path}, got {share}; 1.0 is the whole run.'
                )
        self.shares = dict(shares)

    def before_run(self, runner: Any) -> None:
        forwards = runner.max_iters * runner.train_loop.accumulate
        for path, share in self.shares.items():
            *parts, name = path.split('.')
            owner = runner.task.tokenizer
            for part in parts:
                owner = getattr(owner, part, None)
            if not isinstance(getattr(owner, name, None), int):
                raise UserError(f'RunLengthHook: the tokenizer has no number of steps {path}; drop it from `shares`.')
            setattr(owner, name, max(1, round(share * forwards)))
