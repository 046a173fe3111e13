"""Sends a rank of a run a signal, once: the kill and the stop of a rehearsal."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.dist import get_rank
from mmengine.hooks import Hook

from fvq_core.errors import UserError
from fvq_core.registry import HOOKS


@HOOKS.register_module()
class SignalOnceHook(Hook):
    """After an iteration, one rank sends itself the next of some signals: one each time the run comes there.

    Args:
        after: The iteration, from 1 on.
        signals: Their names, such as `('SIGKILL', 'SIGTERM')`. Those that were sent are noted in the work dir.
        rank: The rank.
    """

    def __init__(self, after: int, signals: Sequence[str], rank: int = 0) -> None:
        unknown = [name for name in signals if name not in signal.Signals.__members__]
        if unknown or after < 1:
            raise UserError(
                f'SignalOnceHook: expected after >= 1 and names of signals, got {after} and {list(signals)}.'
            )
        self.after, self.signals, self.rank = after, list(signals), rank

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if (runner.iter + 1, get_rank()) != (self.after, self.rank):
            return
        for name in self.signals:
            note = Path(runner.work_dir) / f'sent_{name}'
            if not note.exists():
                note.touch()
                os.kill(os.getpid(), signal.Signals[name])
                return
