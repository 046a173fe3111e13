"""The training loop: one iteration is one optimizer step, and every iteration can be repeated exactly."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sized
from typing import Any, cast

import numpy as np
import torch
from mmengine.dist import get_dist_info
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop

from ..data.loader import build_loader
from ..data.sample import UnreadableImages
from ..data.seekable_sampler import SeekableSampler
from ..errors import NonFiniteLossError, UserError
from ..registry import LOOPS
from .checkpoint import list_checkpoints


def seed_iteration(seed: int, rank: int, iteration: int) -> None:
    """Seed every random source for one iteration, so that no state has to be saved to resume it."""
    mixed = random.Random(f'{seed}/{rank}/{iteration}').getrandbits(32)
    random.seed(mixed)
    np.random.seed(mixed)
    torch.manual_seed(mixed)


@LOOPS.register_module()
class TrainLoop(BaseLoop):
    """Runs `max_iters` iterations over an endless loader.

    Args:
        runner: The Runner.
        dataloader: Config of the training data; see `build_loader`.
        max_iters: Length of the run.
        val_interval: Iterations between evaluations; one always follows the last iteration. 0 for that one alone.
    """

    def __init__(self, runner: Any, dataloader: Mapping[str, Any], max_iters: int, val_interval: int = 0) -> None:
        if max_iters < 1:
            raise UserError(f'TrainLoop: max_iters must be 1 or more, got {max_iters}.')
        super().__init__(runner, build_loader(dataloader, runner.seed, train=True))
        self._max_iters, self.val_interval, self.val_begin = int(max_iters), val_interval, 1
        self._iter, self._epoch, self._max_epochs = 0, 0, 1
        self.global_batch_size = dataloader['batch_size'] * get_dist_info()[1]
        self.unreadable = UnreadableImages(
            len(cast(Sized, self.dataloader.dataset)), dataloader.get('max_unreadable', 0.1), runner.logger
        )

    @property
    def iter(self) -> int:
        """Iterations done."""
        return self._iter

    @property
    def max_iters(self) -> int:
        """Iterations to do."""
        return self._max_iters

    @property
    def epoch(self) -> int:
        """Always 0: runs are counted in iterations."""
        return self._epoch

    @property
    def max_epochs(self) -> int:
        """Always 1."""
        return self._max_epochs

    def batches(self, start_iter: int) -> Iterator[dict[str, Any]]:
        """Batches from an iteration on."""
        cast(SeekableSampler, self.dataloader.sampler).start = start_iter * self.global_batch_size
        return (batch for batch in self.dataloader if self.unreadable.check(batch))

    def run(self) -> torch.nn.Module:
        runner, rank = self.runner, get_dist_info()[0]
        runner.call_hook('before_train')
        task = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if self._iter == 0 and hasattr(task, 'prepare'):
            seed_iteration(runner.seed, 0, -1)
            task.prepare(self.batches(0))
        runner.call_hook('before_train_epoch')
        batches = self.batches(self._iter)
        runner.model.train()
        while self._iter < self._max_iters:
            batch = next(batches)
            seed_iteration(runner.seed, rank, self._iter)
            self.run_iter(batch)
            due = self._iter == self._max_iters or (self.val_interval and self._iter % self.val_interval == 0)
            if due and runner.val_loop is not None:
                runner.val_loop.run()
                runner.model.train()
            # Checkpoints come after the evaluation: a run killed in between repeats both and logs each once.
            runner.call_hook('after_iteration')
        runner.call_hook('after_train_epoch')
        runner.call_hook('after_train')
        return runner.model

    def run_iter(self, batch: Mapping[str, Any]) -> None:
        """One optimizer step with its hooks."""
        runner = self.runner
        runner.call_hook('before_train_iter', batch_idx=self._iter, data_batch=batch)
        try:
            outputs = runner.model.train_step(batch, optim_wrapper=runner.optim_wrapper)
        except NonFiniteLossError as error:
            saved = list_checkpoints(runner.work_dir)
            last = f'the last good checkpoint is {saved[0]}' if saved else 'no checkpoint was written yet'
            raise NonFiniteLossError(
                f'iteration {self._iter + 1}: {error}; {last}. Lower the learning rate or lengthen the warm-up.'
            ) from error
        runner.call_hook('after_train_iter', batch_idx=self._iter, data_batch=batch, outputs=outputs)
        self._iter += 1
