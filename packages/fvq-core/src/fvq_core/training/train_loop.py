"""The training loop: one iteration is one optimizer step, and every iteration can be repeated exactly."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from typing import Any, NoReturn, cast

import torch
from mmengine.dist import get_dist_info
from mmengine.runner import BaseLoop
from torch import Tensor

from ..data.loader import Loader
from ..data.sample import UnreadableImages
from ..data.seekable_sampler import SeekableSampler
from ..errors import NonFiniteError, NonFiniteLossError, UserError
from ..ops.distributed import leave_group
from ..ops.finite import first_non_finite
from ..ops.meeting import STOPPED
from ..ops.ranks import copy_from_first_rank
from ..ops.seeding import seed_iteration
from ..registry import LOOPS
from .checkpoint import list_checkpoints
from .tasks.task import Task

FINITE_CHECK_INTERVAL = 10  # iterations, on a GPU: each check waits for the device


@LOOPS.register_module()
class TrainLoop(BaseLoop):
    """Runs `max_iters` iterations over an endless loader. Runs are counted in iterations: `epoch` is always 0.

    Args:
        dataloader: This rank's endless loader of the training data.
        max_iters: Length of the run; if given, `max_epochs` is ignored.
        max_epochs: Length of the run in passes over the training set.
        val_interval: Iterations between evaluations; one always follows the last iteration. 0 for only that one.
        accumulate: Micro-batches of one iteration, whose gradients are averaged before the optimizers step. The batch
            of an iteration is `batch_size` x processes x `accumulate`.
    """

    def __init__(
        self,
        runner: Any,
        dataloader: Loader,
        max_iters: int | None = None,
        max_epochs: float | None = None,
        val_interval: int = 0,
        accumulate: int = 1,
    ) -> None:
        check_length(max_iters, max_epochs, accumulate, val_interval)
        super().__init__(runner, dataloader)
        images = len(cast(Sized, dataloader.dataset))
        self.accumulate = accumulate
        self.global_batch_size = cast(int, dataloader.batch_size) * get_dist_info()[1] * accumulate
        self.max_iters = max_iters or max(1, round(cast(float, max_epochs) * images / self.global_batch_size))
        self.iters_per_epoch = max(1, round(images / self.global_batch_size))
        self.val_interval, self.val_begin = val_interval, 1
        self.iter, self.epoch, self.max_epochs = 0, 0, 1  # of iterations and epochs, done and to do
        self.unreadable = UnreadableImages(images, dataloader.max_unreadable, runner.logger)
        self.unchecked: list[tuple[int, dict[str, Tensor]]] = []
        self.stopping = False  # whether the run stops after this iteration, because a scheduler asked it to

    def batches(self, start_iter: int) -> Iterator[dict[str, Any]]:
        """Micro-batches from an iteration on."""
        cast(SeekableSampler, self.dataloader.sampler).start = start_iter * self.global_batch_size
        return (batch for batch in self.dataloader if self.unreadable.check(batch))

    def run(self) -> torch.nn.Module:
        runner, rank = self.runner, get_dist_info()[0]
        runner.call_hook('before_train')
        task: Task = runner.task
        if self.iter == 0:
            seed_iteration(runner.seed, 0, -1)
            task.initialize_from_data(self.batches(0))
            copy_from_first_rank(task)  # each rank initialized from its own data
        runner.call_hook('before_train_epoch')
        batches = self.batches(self.iter)
        task.train()
        # Ranks agree where a GPU's host waits anyway; in between it may run ahead of the others.
        meeting_interval = FINITE_CHECK_INTERVAL if next(task.parameters()).is_cuda else 1
        while self.iter < self.max_iters:
            micro_batches = [next(batches) for _ in range(self.accumulate)]
            seed_iteration(runner.seed, rank, self.iter)
            self.run_iter(micro_batches)
            due = self.iter == self.max_iters or (self.val_interval and self.iter % self.val_interval == 0)
            if due and runner.val_loop is not None:
                self.check_finite()
                runner.val_loop.run()
                task.train()
            if self.iter % meeting_interval == 0 and self.iter < self.max_iters:
                self.stopping = runner.meeting.stop_agreed()
            # Checkpoints come after the evaluation: a run killed in between repeats both and logs each once.
            runner.call_hook('after_iteration')
            if self.stopping:
                self.stop()
        runner.call_hook('after_train_epoch')
        runner.call_hook('after_train')
        return task

    def stop(self) -> NoReturn:
        """End the process once rank 0's checkpoint is written: a launcher may kill all ranks when one ends."""
        self.runner.meeting.stop_agreed()
        done = f'iteration {self.iter}; checkpoint saved, continue with --resume'
        self.runner.logger.info(f'stopped by a signal after {done}')
        leave_group(STOPPED)
        raise SystemExit(STOPPED)

    def run_iter(self, micro_batches: list[dict[str, Any]]) -> None:
        """One step of the optimizers with its hooks."""
        runner = self.runner
        runner.call_hook('before_train_iter', batch_idx=self.iter, data_batch=micro_batches)
        try:
            outputs = runner.task.train_step(micro_batches, runner.optim_wrapper, self.iter)
        except NonFiniteError as error:
            self.check_finite()  # an earlier iteration may be to blame
            raise self.diverged(self.iter, str(error)) from error
        norms = {
            f'gradient norm of {name}': wrapper.grad_norm
            for name, wrapper in runner.optim_wrapper.items()
            if wrapper.grad_norm is not None and not wrapper.overflow_is_expected
        }
        self.unchecked.append((self.iter, {**outputs['losses'], **outputs.get('watched', {}), **norms}))
        on_gpu = outputs['losses']['total'].is_cuda
        if not on_gpu or len(self.unchecked) >= FINITE_CHECK_INTERVAL or self.iter + 1 == self.max_iters:
            self.check_finite()
        runner.call_hook('after_train_iter', batch_idx=self.iter, data_batch=micro_batches, outputs=outputs)
        self.iter += 1

    def check_finite(self) -> None:
        """Check losses, gradient norms and what else the task watches, of all iterations since the last check.

        Called before every evaluation and checkpoint, so no checkpoint is ever written from broken weights. A
        `NonFiniteLossError` names the first iteration with a non-finite value, its terms, and the last good checkpoint.
        """
        unchecked, self.unchecked = self.unchecked, []
        if found := first_non_finite(unchecked):
            iteration, terms, broken = found
            what = 'loss' if 'total' in broken else broken[0]
            listed = ', '.join(f'{name} {value:g}' for name, value in terms.items())
            raise self.diverged(iteration, f'the {what} is not finite ({listed})')

    def diverged(self, iteration: int, what: str) -> NonFiniteLossError:
        """The error of a run with non-finite values: where, what, the last good checkpoint, and what helps."""
        saved = list_checkpoints(self.runner.work_dir)
        last = f'the last good checkpoint is {saved[0]}' if saved else 'no checkpoint was written yet'
        return NonFiniteLossError(
            f'iteration {iteration + 1}: {what.rstrip(".")}; {last}. Lower the learning rate or lengthen the warm-up.'
        )


def check_length(max_iters: Any = None, max_epochs: Any = None, accumulate: Any = 1, val_interval: Any = 0) -> None:
    """Raise if the length of a run is missing, or a value is below its minimum."""
    if max_iters is None and max_epochs is None:
        raise UserError('train_cfg: set max_iters or max_epochs.')
    if max_iters is not None and (not isinstance(max_iters, int) or max_iters < 1):
        raise UserError(f'train_cfg.max_iters must be a whole number from 1 on, got {max_iters!r}.')
    if max_epochs is not None and (not isinstance(max_epochs, int | float) or max_epochs <= 0):
        raise UserError(f'train_cfg.max_epochs must be a number above 0, got {max_epochs!r}.')
    if not isinstance(accumulate, int) or accumulate < 1:
        raise UserError(f'train_cfg.accumulate must be a whole number from 1 on, got {accumulate!r}.')
    if not isinstance(val_interval, int) or val_interval < 0:
        raise UserError(f'train_cfg.val_interval must be a whole number from 0 on, got {val_interval!r}.')
