"""Diagnostics of training: losses, code usage of the window, gradient norm, learning rate, speed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_reduce, is_main_process
from mmengine.hooks import Hook
from torch import Tensor

from ..codebook_statistics import perplexity
from ..registry import HOOKS
from ..runner.runner import HISTORY_NAME
from .history import History

SPEED_KEYS = ('images_per_second',)  # the keys of a row that differ between two runs of the same seed


@HOOKS.register_module()
class TrainingLogHook(Hook):
    """Means over each interval go to the console, `history.jsonl` and TensorBoard.

    Nothing is read from the device between logs. What an unfinished interval has gathered travels in the checkpoint, so
    a resumed run logs the same numbers.

    `usage_window` and `perplexity_window` are those of the codes of the interval's training batches, which is not the
    evaluation set: with W codes drawn evenly over K, a window shows at most 1 - exp(-W / K) of them.

    Args:
        interval: Iterations between logs.
    """

    priority = 'NORMAL'

    def __init__(self, interval: int = 10) -> None:
        self.interval = interval
        self.sums: dict[str, Tensor] = {}
        self.count = self.images = 0
        self.histogram_K: Tensor | None = None
        self.window: dict[str, Any] = {}
        self.speed_from = (0, 0.0)

    def before_run(self, runner: Any) -> None:
        self.history = History(Path(runner.work_dir) / HISTORY_NAME)

    def before_train(self, runner: Any) -> None:
        self.speed_from = (0, time.perf_counter())

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        values = {f'loss/{name}' if name != 'total' else 'loss': value for name, value in outputs['losses'].items()}
        norm = getattr(runner.optim_wrapper, 'grad_norm', None)
        if norm is not None:
            values['grad_norm'] = norm.detach()
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        rows = outputs['rows'].reshape(-1)
        if self.histogram_K is None:
            task = runner._bare_model
            self.histogram_K = torch.zeros(
                task.tokenizer.quantizer.codebook().shape[0], dtype=torch.int64, device=rows.device
            )
        self.histogram_K += torch.bincount(rows, minlength=len(self.histogram_K))
        self.count += 1
        self.images += len(outputs['rows'])
        if (runner.iter + 1) % self.interval == 0 or runner.iter + 1 == runner.max_iters:
            self._log(runner, runner.iter + 1)

    def _log(self, runner: Any, iteration: int) -> None:
        histogram_K = self.histogram_K
        assert histogram_K is not None
        row: dict[str, Any] = {'iter': iteration, 'split': 'train'}
        row.update({name: (total / self.count).item() for name, total in self.sums.items()})
        all_reduce(histogram_K)
        tokens = int(histogram_K.sum())
        row['usage_window'] = 100.0 * (histogram_K > 0).double().mean().item()
        row['perplexity_window'] = perplexity(histogram_K)
        row['tokens_window'] = tokens
        row['lr'] = runner.optim_wrapper.get_lr()['lr'][0]
        now = time.perf_counter()
        images, since = self.speed_from
        row['images_per_second'] = round((images + self.images) / max(now - since, 1e-9), 2)
        self.window = row
        self.speed_from = (0, now)
        self.sums, self.count, self.images = {}, 0, 0
        histogram_K.zero_()
        self._publish(runner, row, 'train')

    def after_val_epoch(self, runner: Any, metrics: Any = None) -> None:
        if runner._train_loop is None or isinstance(runner._train_loop, dict):
            return  # tools/test.py: an evaluation without a run
        row = {'iter': runner.iter, 'split': 'eval', **{name: metric.value for name, metric in metrics.items()}}
        if not any(old['iter'] == row['iter'] and old['split'] == 'eval' for old in self.history.rows()):
            self._publish(runner, row, 'eval')  # a finished run that is resumed evaluates again, and logs once
        if is_main_process():
            runner.logger.info(f'iter {runner.iter} evaluation: ' + ', '.join(f'{k} {v}' for k, v in metrics.items()))
        self.speed_from = (0, time.perf_counter())

    def _publish(self, runner: Any, row: dict[str, Any], split: str) -> None:
        if not is_main_process():
            return
        self.history.append(row)
        scalars = {f'{split}/{name}': value for name, value in row.items() if name not in ('iter', 'split')}
        runner.visualizer.add_scalars(scalars, step=row['iter'])

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint['training_log'] = {
            'sums': {name: value.cpu() for name, value in self.sums.items()},
            'count': self.count,
            'images': self.images,
            'histogram_K': None if self.histogram_K is None else self.histogram_K.cpu(),
            'window': self.window,
        }

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        state = checkpoint.get('training_log')
        if state is None:
            return
        device = next(runner.model.parameters()).device
        self.sums = {name: value.to(device) for name, value in state['sums'].items()}
        self.count, self.images, self.window = state['count'], state['images'], state['window']
        self.histogram_K = None if state['histogram_K'] is None else state['histogram_K'].to(device)
        if is_main_process():
            self.history.truncate(checkpoint['meta']['iter'])
