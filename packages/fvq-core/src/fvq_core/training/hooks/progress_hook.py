"""A progress bar with the remaining time on a terminal, log lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from tqdm import tqdm

from ...errors import UserError
from ...progress import clock
from ...registry import HOOKS


@HOOKS.register_module()
class ProgressHook(Hook):
    """Shows iteration, loss, code usage since the last log, speed and remaining time.

    Args:
        interval: Iterations between log lines if there is no terminal.
    """

    priority = 'LOW'

    def __init__(self, interval: int = 50) -> None:
        if interval < 1:
            raise UserError(f'ProgressHook: interval must be 1 or more, got {interval}.')
        self.interval = interval
        self.bar: tqdm | None = None

    def before_train(self, runner: Any) -> None:
        self.started, self.first = time.perf_counter(), runner.iter
        if is_main_process() and sys.stderr.isatty():
            self.bar = tqdm(total=runner.max_iters, initial=runner.iter, unit='it', dynamic_ncols=True, desc='training')

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        done = runner.iter + 1
        units, log = {'loss': '', 'usage_window': '%', 'lr': ''}, runner.last_log
        shown = {name: f'{log[name]:.4g}{unit}' for name, unit in units.items() if name in log}
        if self.bar is not None:
            self.bar.set_postfix(shown, refresh=False)
            self.bar.update()
        elif is_main_process() and (done % self.interval == 0 or done == runner.max_iters):
            rate = (time.perf_counter() - self.started) / (done - self.first)
            left = clock(rate * (runner.max_iters - done))
            facts = ' '.join(f'{name} {value}' for name, value in shown.items())
            runner.logger.info(f'iter {done}/{runner.max_iters} {facts} time left {left}')

    def after_train(self, runner: Any) -> None:
        if self.bar is not None:
            self.bar.close()
