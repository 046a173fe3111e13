"""Runs the runs: first every learning rate with the first seed, then the best one with the other seeds."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from fvq_core.errors import UserError
from fvq_core.ops.distributed import choose_device

from .chosen_rates import SELECTED_BY, best_rate
from .execution import forget_failure
from .launcher import Launcher
from .progress import Progress
from .rows import Row, trainable
from .run import FINISHED, MEMORY_SHARE, OTHER, BenchmarkRun, holds_another, run_folder

USABLE_MEMORY = 0.95  # of a GPU that runs share; CUDA itself takes some for each process


class Benchmark:
    """All runs of some rows.

    Args:
        seeds: The first is the one that learning rates are chosen with.
        factors: On each config's learning rate.
        extra_metrics: Configs of metrics beside those that every report has.
        chosen: One factor for each row's key, from another benchmark, instead of `factors`.
        retry_failed: Whether runs that failed in an earlier call are trained again; else they count as tried.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        seeds: Sequence[int],
        factors: Sequence[float],
        work_dir: Path,
        extra_metrics: Sequence[dict[str, Any]] = (),
        chosen: Mapping[str, float] | None = None,
        retry_failed: bool = False,
    ) -> None:
        for name, values in (('--seeds', seeds), ('--lr-factors', factors)):
            if not values or len(set(values)) < len(values):
                raise UserError(f'benchmark: {name} wants one or more different numbers, got {list(values)}.')
        if min(factors) <= 0:
            raise UserError(f'benchmark: --lr-factors must be above 0, got {min(factors)}.')
        self.rows, self.seeds, self.factors, self.work_dir = list(rows), list(seeds), list(factors), work_dir
        self.extra_metrics, self.chosen, self.retry_failed = list(extra_metrics), chosen, retry_failed

    def run(self, row: Row, factor: float, seed: int) -> BenchmarkRun:
        """One run of a row that was not refused."""
        assert row.cfg is not None
        folder = run_folder(self.work_dir, row.key, factor, seed)
        return BenchmarkRun(row.key, factor, seed, folder, row.source, row.cfg, bool(row.codebook_size))

    def factors_of(self, row: Row) -> list[float]:
        """Factors that are tried for a row that was not refused."""
        return self.factors if self.chosen is None else [self.chosen[row.key]]

    def tuning_runs(self) -> list[BenchmarkRun]:
        """Every factor with the first seed; all rows with their first factor, then all with their second, ..."""
        tries = [[(row, factor) for factor in self.factors_of(row)] for row, _ in trainable(self.rows)]
        return [self.run(row, factor, self.seeds[0]) for column in zip(*tries, strict=True) for row, factor in column]

    def result(self, run: BenchmarkRun) -> dict[str, Any] | None:
        """The result of a run, None before it ended; without numbers if its folder holds a run of another config."""
        if holds_another(run, self.extra_metrics):
            return {'status': OTHER, 'reason': 'data, steps, options or metrics are not those of this call'}
        return run.result()

    def best_factor(self, row: Row) -> float | None:
        """The factor whose run with the first seed has the best PSNR over the evaluation set; None if all failed.

        A row's only factor is the best whatever became of that run, so that one bad seed costs no other.
        """
        factors = self.factors_of(row)
        if len(factors) == 1:
            return factors[0]
        results = {factor: self.result(self.run(row, factor, self.seeds[0])) or {} for factor in factors}
        finished = {factor: result for factor, result in results.items() if result.get('status') == FINISHED}
        return best_rate({factor: result['metrics'][SELECTED_BY]['value'] for factor, result in finished.items()})

    def is_tuned(self, row: Row) -> bool:
        """Whether the runs of every factor have ended."""
        return all(self.run(row, factor, self.seeds[0]).result() is not None for factor in self.factors_of(row))

    def seed_runs(self) -> list[BenchmarkRun]:
        """The other seeds with the best factor of each row that has one, once all its factors were tried."""
        best = [(row, self.best_factor(row)) for row, _ in trainable(self.rows) if self.is_tuned(row)]
        return [self.run(row, f, seed) for seed in self.seeds[1:] for row, f in best if f is not None]

    def chosen_runs(self, row: Row) -> list[BenchmarkRun]:
        """The runs of a row with its best factor, one a seed; none if all of several failed."""
        factor = self.best_factor(row)
        return [] if factor is None else [self.run(row, factor, seed) for seed in self.seeds]

    def train(self, launcher: Launcher, log: Callable[[str], None]) -> None:
        """Train what has not ended.

        Args:
            launcher: Where runs train.
            log: Called with a line for each run that ends, and now and then with the time left.
        """
        first = self.tuning_runs()
        later = len(trainable(self.rows)) * (len(self.seeds) - 1)
        progress = Progress(len(first) + later, log)
        if launcher.queued and all(len(self.factors_of(row)) == 1 for row, _ in trainable(self.rows)):
            # There is no rate to wait for.
            self.run_all([*first, *self.other_seeds()], launcher, progress)
            return
        self.run_all(first, launcher, progress)
        self.run_all(self.seed_runs(), launcher, progress)

    def is_to_train(self, run: BenchmarkRun) -> bool:
        """Whether a call trains it: it has no result, or failed and is tried again."""
        return not run.finished and (self.retry_failed or run.result() is None)

    def run_all(self, runs: Sequence[BenchmarkRun], launcher: Launcher, progress: Progress) -> None:
        """Run those that are to be trained."""
        for run in runs:
            if holds_another(run, self.extra_metrics):
                raise UserError(
                    f'benchmark: {run.folder} holds a run of another config (data, steps, options or metrics changed); '
                    'choose another --work-dir, or delete that folder.'
                )
        missing = []
        for run in runs:
            if not self.is_to_train(run):
                progress.skip(run)
                continue
            missing.append(run)
            if run.result() is not None:
                forget_failure(run.folder)
        with contextlib.closing(launcher.launch(missing, self.extra_metrics)) as ending:
            for ended in ending:
                if ended is None:
                    progress.tick(launcher.active())
                else:
                    progress.end(*ended, launcher.active())

    def other_seeds(self) -> list[BenchmarkRun]:
        """The other seeds of every row, at its best factor, or at its first while none is chosen."""
        rows = [(row, self.best_factor(row) or self.factors_of(row)[0]) for row, _ in trainable(self.rows)]
        return [self.run(row, factor, seed) for seed in self.seeds[1:] for row, factor in rows]


def make_slots(jobs: str, threads: int) -> list[dict[str, str]]:
    """Environments of the runs that go on at the same time: one a GPU, or `jobs` of them.

    Runs on one GPU get equal shares of its memory, so that one that wants more fails by itself.
    """
    gpus = torch.cuda.device_count() if choose_device('auto').type == 'cuda' else 0
    if jobs == 'auto':
        count = max(1, gpus)
    elif jobs.isdigit() and int(jobs) >= 1:
        count = int(jobs)
    else:
        raise UserError(f"benchmark: --jobs must be a whole number from 1 on or 'auto', got '{jobs}'.")
    if threads < 1:
        raise UserError(f'benchmark: --threads must be 1 or more, got {threads}.')
    limits = {'OMP_NUM_THREADS': str(threads), 'MKL_NUM_THREADS': str(threads)}
    if count > 1:
        limits['TORCHINDUCTOR_COMPILE_THREADS'] = str(max(1, (os.cpu_count() or 1) // count))
    if (sharing := -(-count // gpus) if gpus else 1) > 1:
        limits[MEMORY_SHARE] = f'{USABLE_MEMORY / sharing:.4f}'
    slots = [dict(limits) for _ in range(count)]
    devices = os.environ.get('CUDA_VISIBLE_DEVICES', ','.join(map(str, range(gpus)))).split(',')
    for number, slot in enumerate(slots):
        if gpus > 1:
            slot['CUDA_VISIBLE_DEVICES'] = devices[number % gpus]
    return slots
