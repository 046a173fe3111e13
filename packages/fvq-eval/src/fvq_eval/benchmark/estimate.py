"""What a call would take on this machine, from a few steps of each config."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fvq_core.errors import UserError
from fvq_core.files.markdown import markdown_table

from .rows import Row, trainable
from .run import FINISHED
from .scheduler import Benchmark
from .time_limit import saved_steps


@dataclass(frozen=True)
class Cost:
    """Of all runs of one config that a call has yet to train.

    Attributes:
        runs: Not finished ones.
        steps: That they still train.
        a_step: Seconds.
        other: Seconds of a run beside training: start, evaluation, report.
    """

    config: str
    runs: int
    steps: int
    a_step: float
    other: float

    @property
    def seconds(self) -> float:
        return self.steps * self.a_step + self.runs * self.other


def estimate(benchmark: Benchmark, steps: int, train: Callable[[Benchmark], None]) -> list[Cost]:
    """Train so many steps of one row of each config, in a folder that is removed, and add up what the call still has to do.

    Args:
        benchmark: Whose rows, rates and seeds are meant; runs that have ended cost nothing.
        train: Trains a benchmark's runs.

    Raises:
        UserError: A config could not be trained.
    """
    first: dict[str, Row] = {}
    for row, cfg in trainable(benchmark.rows):
        if row.source not in first:
            short = copy.deepcopy(cfg)
            short.train_cfg['max_iters'] = steps
            short.default_hooks.training_log = {
                **short.default_hooks.get('training_log', {}),
                'interval': -(-steps // 4),
            }
            first[row.source] = replace(row, cfg=short)
    planned = [*benchmark.tuning_runs(), *benchmark.other_seeds()]
    costs = []
    with tempfile.TemporaryDirectory() as folder:
        trial = Benchmark(list(first.values()), benchmark.seeds[:1], [1.0], Path(folder), benchmark.extra_metrics)
        train(trial)
        for source, row in first.items():
            result = trial.run(row, 1.0, trial.seeds[0]).result() or {}
            if result.get('status') != FINISHED:
                raise UserError(
                    f'benchmark: --estimate: {row.name} did not train: {result.get("reason", "it was stopped")}'
                )
            left = [run for run in planned if run.source == source and benchmark.is_to_train(run)]
            steps_left = sum(run.cfg.train_cfg['max_iters'] - saved_steps(run.folder) for run in left)
            a_step = 1.0 / result['steps_per_second']
            costs.append(Cost(source, len(left), steps_left, a_step, result['other_seconds']))
    return costs


def estimate_text(costs: Sequence[Cost], jobs: int) -> str:
    """A table in Markdown, and the sum."""
    head = ['config', 'runs to do', 'steps', 'seconds a step', 'seconds beside', 'minutes']
    lines = [
        [
            cost.config,
            str(cost.runs),
            f'{cost.steps:,}',
            f'{cost.a_step:.4f}',
            f'{cost.other:.1f}',
            f'{cost.seconds / 60:.1f}',
        ]
        for cost in costs
    ]
    minutes = sum(cost.seconds for cost in costs) / 60
    runs, steps = sum(cost.runs for cost in costs), sum(cost.steps for cost in costs)
    at_once = f', {minutes / jobs:.1f} with {jobs} at a time, if as fast as in this trial' if jobs > 1 else ''
    return (
        f'{markdown_table(head, lines)}\n\n{runs} runs, {steps:,} steps: {minutes:.1f} minutes one at a time{at_once}.'
    )
