"""Calls with a time limit: what fits is trained, what does not is left to the next call, and nothing is trained twice."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fvq_core.errors import UserError
from fvq_core.ops.meeting import STOPPED
from fvq_core.training.train_loop import TrainLoop
from fvq_eval.benchmark import local_processes, time_limit, training_cost, worker
from fvq_eval.benchmark import run as run_module
from fvq_eval.benchmark.estimate import Cost, estimate, estimate_text
from fvq_eval.benchmark.local_processes import LocalProcesses
from fvq_eval.benchmark.rows import read_rows
from fvq_eval.benchmark.run import BenchmarkRun
from fvq_eval.benchmark.scheduler import Benchmark, make_slots
from fvq_eval.benchmark.time_limit import limit_slots, saved_steps, seconds_needed, stop_in_time

from .benchmark_runs import FVQ, OPTIONS, VQ


class Machine:
    """Trains at 75 seconds a step, with a clock of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.trained = 1e9, []
        monkeypatch.setattr(time_limit, 'time', SimpleNamespace(time=lambda: self.now))
        monkeypatch.setattr(local_processes, 'execute', self.execute)

    def execute(self, run: BenchmarkRun, env: Any) -> dict[str, Any]:
        self.trained.append(str(run))
        steps = run.cfg.train_cfg.max_iters
        self.now += 75.0 * steps
        metrics = {'psnr': {'value': 20.0 + run.factor}, 'usage': {'value': 1.0}}
        cost = {'seconds': 70.0 * steps, 'steps': steps, 'other_seconds': 5.0 * steps, 'steps_per_second': 1 / 70.0}
        result = {'status': 'finished', 'metrics': metrics, **cost}
        (run.folder / 'result.json').write_text(json.dumps(result))
        return result


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def call(benchmark: Benchmark, minutes: float = 12) -> None:
    slots = make_slots('1', 1)
    limit_slots(slots, minutes)
    benchmark.train(LocalProcesses(slots), print)


def test_a_call_starts_what_fits_and_the_next_adds_the_rest(
    machine: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = read_rows([VQ, FVQ], {**OPTIONS, 'train_cfg.max_iters': 4})
    benchmark = Benchmark(rows, [1, 2, 3], [1.0], tmp_path)
    call(benchmark)  # 690 seconds: 300 each
    assert machine.trained == ['mini/vq lr x1 seed 1', 'mini/fvq lr x1 seed 1']
    shown = capsys.readouterr().out
    assert 'mini/vq lr x1 seed 2: to come: does not fit into the time left of --minutes' in shown
    assert 'FAILED' not in shown
    call(benchmark)
    call(benchmark)
    assert len(machine.trained) == len(set(machine.trained)) == 6
    call(benchmark)
    assert len(machine.trained) == 6


def test_seeds_wait_until_every_rate_was_tried(machine: Machine, tmp_path: Path) -> None:
    benchmark = Benchmark(read_rows([VQ], {**OPTIONS, 'train_cfg.max_iters': 4}), [1, 2], [1.0, 2.0, 3.0], tmp_path)
    call(benchmark)
    assert machine.trained == ['mini/vq lr x1 seed 1', 'mini/vq lr x2 seed 1']
    assert benchmark.seed_runs() == []  # x2 may not be the best
    call(benchmark)
    assert machine.trained[2:] == ['mini/vq lr x3 seed 1', 'mini/vq lr x3 seed 2']


def test_a_short_run_is_started_where_a_long_one_does_not_fit(machine: Machine, tmp_path: Path) -> None:
    benchmark = Benchmark(read_rows([VQ], OPTIONS, lengths=[4, 6, 1]), [1], [1.0], tmp_path)
    call(benchmark)  # after 300 seconds, 450 are too much, and 75 are not
    assert machine.trained == ['mini/steps4/vq lr x1 seed 1', 'mini/steps1/vq lr x1 seed 1']


def test_a_run_that_fits_no_call_is_done_in_pieces(machine: Machine, tmp_path: Path) -> None:
    rows = read_rows([VQ], OPTIONS, lengths=[4, 40])
    benchmark = Benchmark(rows, [1], [1.0], tmp_path)
    call(benchmark)
    assert machine.trained[1] == 'mini/steps40/vq lr x1 seed 1'
    run = benchmark.run(rows[1], 1.0, 2)
    assert seconds_needed(run) == pytest.approx(40 * 70 + 200)
    run.folder.mkdir(parents=True)
    (run.folder / 'iter_30.pth').touch()
    assert saved_steps(run.folder) == 30
    assert seconds_needed(run) == pytest.approx(10 * 70 + 200)


def test_a_run_that_fits_no_call_by_a_little_is_not_left_out_for_ever(machine: Machine, tmp_path: Path) -> None:
    short, long = read_rows([VQ], OPTIONS, lengths=[1, 9])
    Benchmark([short], [1], [1.0], tmp_path).train(LocalProcesses([{}]), print)
    slots = make_slots('1', 1)
    limit_slots(slots, 12)  # 690 seconds
    machine.now += 60  # until the first run can start
    benchmark = Benchmark([long], [1], [1.0], tmp_path)
    assert seconds_needed(benchmark.tuning_runs()[0]) == 9 * 70 + 5
    benchmark.train(LocalProcesses(slots), print)
    assert machine.trained == ['mini/steps1/vq lr x1 seed 1', 'mini/steps9/vq lr x1 seed 1']


def test_what_a_failed_run_took_is_part_of_its_result(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    options = {**OPTIONS, 'train_cfg.max_iters': 4, 'val_dataloader.dataset.crops': 4}
    (run,) = Benchmark(read_rows([VQ], options), [0], [1.0], tmp_path).tuning_runs()
    run_module.prepare(run, [])
    clock = SimpleNamespace(perf_counter=lambda: 0.0)
    monkeypatch.setattr(training_cost, 'time', clock)

    def diverges(self: TrainLoop, batches: Any) -> None:
        clock.perf_counter = lambda: 33.0
        raise FloatingPointError('the loss is not finite')

    monkeypatch.setattr(TrainLoop, 'run_iter', diverges)
    assert worker.main(run.folder) == 1
    reason = 'FloatingPointError: the loss is not finite'
    assert run.result() == {'status': 'failed', 'reason': reason, 'seconds': 33.0}


def test_the_process_of_a_run_stops_itself_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    timers = []

    def timer(seconds: float, action: Any, arguments: Any) -> SimpleNamespace:
        timers.append((seconds, action, arguments))
        return SimpleNamespace(start=lambda: None)

    monkeypatch.setattr(time_limit.threading, 'Timer', timer)
    stop_in_time()
    assert timers == []
    slots = make_slots('1', 1)
    limit_slots(slots, 12)
    monkeypatch.setenv(time_limit.STOP_AT, slots[0][time_limit.STOP_AT])
    stop_in_time()
    ((seconds, action, arguments),) = timers
    assert seconds == pytest.approx(690, abs=5)
    assert (action, arguments) == (os.kill, (os.getpid(), signal.SIGTERM))
    with pytest.raises(UserError, match='--minutes must be above 0'):
        limit_slots(slots, 0)


def test_a_run_that_was_told_to_stop_goes_on_from_its_checkpoint(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    options = {**OPTIONS, 'train_cfg.max_iters': 4, 'val_dataloader.dataset.crops': 4}
    (run,) = Benchmark(
        read_rows([VQ], {**options, 'default_hooks.training_log.interval': 1}), [0], [1.0], tmp_path
    ).tuning_runs()
    run_module.prepare(run, [])
    run_iter = TrainLoop.run_iter

    def told(self: TrainLoop, batches: Any) -> None:
        run_iter(self, batches)
        if self.iter == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(TrainLoop, 'run_iter', told)
        with pytest.raises(SystemExit) as stopped:
            worker.main(run.folder)
    assert stopped.value.code == STOPPED
    assert STOPPED in run_module.INTERRUPTED
    assert run.result() is None
    assert saved_steps(run.folder) == 2
    assert worker.main(run.folder) == 0
    result = run.result()
    assert result is not None
    assert (result['steps'], result['other_seconds']) == (4, None)


def test_an_estimate_adds_up_what_is_left(machine: Machine, tmp_path: Path) -> None:
    rows = read_rows([VQ, FVQ], OPTIONS, lengths=[4, 8])
    benchmark = Benchmark(rows, [1, 2], [1.0], tmp_path)
    benchmark.train(LocalProcesses(make_slots('1', 1)), print)
    done = benchmark.run(rows[0], 1.0, 1)
    (done.folder / 'result.json').unlink()
    costs = estimate(benchmark, 1, lambda trial: trial.train(LocalProcesses(make_slots('1', 1)), print))
    assert costs == [Cost(VQ, 1, 4, pytest.approx(70), 5.0), Cost(FVQ, 0, 0, pytest.approx(70), 5.0)]
    assert costs[0].seconds == pytest.approx(4 * 70 + 5)
    text = estimate_text(costs, jobs=2)
    assert text.endswith(
        '1 runs, 4 steps: 4.8 minutes one at a time, 2.4 with 2 at a time, if as fast as in this trial.'
    )
    assert rows[0].cfg is not None
    assert rows[0].cfg.train_cfg.max_iters == 4
