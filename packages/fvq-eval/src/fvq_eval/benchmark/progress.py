"""How far a benchmark is, in lines on the console."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from fvq_core.progress import clock
from fvq_core.training.hooks.history import HISTORY_NAME, History

from .run import FAILED, FINISHED, BenchmarkRun


class Progress:
    """Counts steps of all runs and estimates the time that is left.

    Args:
        total: Runs in all, finished ones included.
    """

    def __init__(self, total: int, log: Callable[[str], None]) -> None:
        self.total, self.log = total, log
        self.ended, self.skipped, self.started = 0, 0, time.perf_counter()

    def skip(self, run: BenchmarkRun) -> None:
        """A run that ended in an earlier call."""
        self.ended, self.skipped = self.ended + 1, self.skipped + 1
        if not run.finished:
            self.log(f'[{self.ended}/{self.total}] {run}: failed in an earlier call; retry with --retry-failed')

    def end(self, run: BenchmarkRun, result: dict[str, Any], running: Sequence[BenchmarkRun]) -> None:
        """A run that ended now."""
        self.ended += 1
        if result['status'] == FINISHED:
            usage = result['metrics'].get('usage')
            of_codes = '' if usage is None else f' usage {usage["value"]:.1f} %,'
            outcome = f'PSNR {result["metrics"]["psnr"]["value"]:.2f} dB,{of_codes} {clock(result["seconds"])}'
        else:
            outcome = f'{"FAILED" if result["status"] == FAILED else result["status"]}: {result["reason"]}'
        self.log(f'[{self.ended}/{self.total}] {run}: {outcome}; {self.time_left(running)}')

    def tick(self, running: Sequence[BenchmarkRun]) -> None:
        """Nothing ended for a while."""
        names = ', '.join(f'{run} at {share(run):.0%}' for run in running) or 'no run has started yet'
        self.log(f'[{self.ended}/{self.total}] {names}; {self.time_left(running)}')

    def time_left(self, running: Sequence[BenchmarkRun]) -> str:
        """From the runs ended in this call and the shares of those that go on."""
        done = self.ended - self.skipped + sum(share(run) for run in running)
        if done <= 0:
            return 'time left unknown yet'
        left = (time.perf_counter() - self.started) / done * (self.total - self.skipped - done)
        return f'time left {clock(max(0.0, left))}'


def share(run: BenchmarkRun) -> float:
    """How much of a run is done, by its last logged step."""
    rows = History(run.folder / HISTORY_NAME).rows()
    total = run.cfg.train_cfg.get('max_iters')
    return rows[-1]['iter'] / total if rows and total else 0.0
