"""Diagnostics of training: losses, code usage of the window, gradient norm, learning rate, speed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_reduce, get_dist_info, get_world_size, is_main_process, master_only
from mmengine.hooks import Hook
from torch import Tensor

from ...errors import UserError
from ...ops.codebook_statistics import perplexity
from ...ops.ranks import average_over_ranks, gather_over_ranks
from ...registry import HOOKS
from ...stamp import short_stamp
from .history import HISTORY_NAME, History

SPEED_KEYS = ('images_per_second',)  # keys of a row that differ between two runs of one seed


@HOOKS.register_module()
class TrainingLogHook(Hook):
    """Means over each interval go to the console, `history.jsonl` and TensorBoard.

    Losses are means over ranks, codes are counted over all ranks. Nothing is read from the device between logs. The sums
    of an unfinished interval are part of a checkpoint, so a resumed run logs the same numbers.

    `usage_window` and `perplexity_window`, which only models of codes have, are those of the codes of the interval's
    training batches (for a generator: what share of the vocabulary it sees at all), not of the evaluation set. With W codes
    drawn evenly over K, a window shows at most 1 - exp(-W / K) of them.

    Args:
        interval: Iterations between logs.
    """

    priority = 'NORMAL'

    def __init__(self, interval: int = 10) -> None:
        if interval < 1:
            raise UserError(f'TrainingLogHook: interval must be 1 or more, got {interval}.')
        self.interval = interval
        self.sums: dict[str, Tensor] = {}  # of this rank
        self.sums_of_ranks: dict[str, Tensor] = {}  # (ranks,) each, for a checkpoint
        self.counts: dict[str, int] = {}  # per term: one may start within an interval
        self.images = 0
        self.histogram_K: Tensor | None = None
        self.speed_from = (0, 0.0)

    def before_run(self, runner: Any) -> None:
        self.history = History(Path(runner.work_dir) / HISTORY_NAME)

    @torch.no_grad()
    def before_train(self, runner: Any) -> None:
        if self.histogram_K is None and (K := runner.task.codebook_size()) is not None:
            device = next(runner.task.parameters()).device
            self.histogram_K = torch.zeros(K, dtype=torch.int64, device=device)
        self.speed_from = (0, time.perf_counter())

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        values = {f'loss/{name}' if name != 'total' else 'loss': value for name, value in outputs['losses'].items()}
        for part, wrapper in runner.optim_wrapper.items():
            if wrapper.grad_norm is not None:
                values[self._of_part('grad_norm', part, runner)] = wrapper.grad_norm.detach()
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + 1
        if self.histogram_K is not None:
            indices = outputs['codebook_indices'].reshape(-1)
            self.histogram_K.scatter_add_(0, indices, torch.ones_like(indices))  # bincount would wait for the device
        self.images += outputs['images'] * get_world_size()
        if (runner.iter + 1) % self.interval == 0 or runner.iter + 1 == runner.max_iters:
            self._log(runner, runner.iter + 1)

    @staticmethod
    def _of_part(name: str, part: str, runner: Any) -> str:
        """The name of a figure of a part; the main part's name is left out."""
        return name if part == next(iter(runner.task.parts())) else f'{name}/{part}'

    def before_checkpoint(self, runner: Any) -> None:
        """Called on every rank before rank 0 writes a checkpoint. It changes nothing that is logged later, to the last bit."""
        if self.sums:
            every_RT = gather_over_ranks(torch.stack([*self.sums.values()]).float()[None])
            self.sums_of_ranks = dict(zip(self.sums, every_RT.T, strict=True))
        if self.histogram_K is not None:
            all_reduce(self.histogram_K)
            if not is_main_process():
                self.histogram_K.zero_()

    def _log(self, runner: Any, iteration: int) -> None:
        average_over_ranks(list(self.sums.values()))
        means = torch.stack([total.double() / self.counts[name] for name, total in self.sums.items()])
        row: dict[str, Any] = {'iter': iteration, 'split': 'train', **dict(zip(self.sums, means.tolist(), strict=True))}
        if self.histogram_K is not None:
            all_reduce(self.histogram_K)
            row['usage_window'] = 100.0 * (self.histogram_K > 0).double().mean().item()
            row['perplexity_window'] = perplexity(self.histogram_K)
            row['tokens_window'] = int(self.histogram_K.sum())
            self.histogram_K.zero_()
        for part, wrapper in runner.optim_wrapper.items():
            row[self._of_part('lr', part, runner)] = wrapper.get_lr()['lr'][0]
        now = time.perf_counter()
        images, since = self.speed_from
        row['images_per_second'] = round((images + self.images) / max(now - since, 1e-9), 2)
        runner.last_log = row
        self.speed_from = (0, now)
        self.sums, self.counts, self.images = {}, {}, 0
        self._publish(runner, row)

    def after_val_epoch(self, runner: Any, metrics: Any = None) -> None:
        if runner._train_loop is None or isinstance(runner._train_loop, dict):
            return  # tools/test.py: an evaluation without a run
        row = {'iter': runner.iter, 'split': 'eval', **{name: metric.value for name, metric in metrics.items()}}
        if not any(old['iter'] == row['iter'] and old['split'] == 'eval' for old in self.history.rows()):
            self._publish(runner, row)  # a finished run that is resumed evaluates again, but logs once
        if is_main_process():
            stamp = short_stamp(metrics)
            numbers = ', '.join(f'{name} {metric}' for name, metric in metrics.items())
            runner.logger.info(f'iter {runner.iter} evaluation{f" ({stamp})" if stamp else ""}: {numbers}')
        self.speed_from = (0, time.perf_counter())

    @master_only
    def _publish(self, runner: Any, row: dict[str, Any]) -> None:
        self.history.append(row)
        scalars = {f'{row["split"]}/{name}': value for name, value in row.items() if name not in ('iter', 'split')}
        runner.visualizer.add_scalars(scalars, step=row['iter'])

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint['training_log'] = {
            'sums': {name: self.sums_of_ranks[name].cpu() for name in self.sums},
            'counts': self.counts,
            'images': self.images,
            'histogram_K': None if self.histogram_K is None else self.histogram_K.cpu(),
            'last_log': runner.last_log,
        }

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        state = checkpoint.get('training_log')
        if state is None:
            return
        device = next(runner.task.parameters()).device
        rank, ranks = get_dist_info()
        for name, value_R in state['sums'].items():  # of other ranks than these, their mean
            self.sums[name] = (value_R[rank] if value_R.numel() == ranks > 1 else value_R.mean()).to(device)
        self.counts, self.images, runner.last_log = state['counts'], state['images'], state['last_log']
        self.histogram_K = None if state['histogram_K'] is None else state['histogram_K'].to(device)
        if is_main_process():
            if damaged := self.history.truncate(checkpoint['meta']['iter']):
                runner.logger.warning(f'{self.history.path}: {damaged} damaged line(s) are left out.')
        elif self.histogram_K is not None:
            self.histogram_K.zero_()
