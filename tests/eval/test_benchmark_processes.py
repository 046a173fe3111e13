"""Processes of runs: one a folder, none without its benchmark, and no failure that costs another run."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fvq_core.ops.meeting import STOPPED
from fvq_eval.benchmark import execution, local_processes, worker
from fvq_eval.benchmark import run as run_module
from fvq_eval.benchmark.local_processes import LocalProcesses
from fvq_eval.benchmark.rows import read_rows
from fvq_eval.benchmark.run import BenchmarkRun
from fvq_eval.benchmark.run_process import BUSY
from fvq_eval.benchmark.scheduler import Benchmark, make_slots

from .benchmark_runs import FVQ, OPTIONS, REPO, VQ, leave_result

pytestmark = pytest.mark.processes

HOLD = """
import fcntl, sys
file = open(sys.argv[1], 'w')
fcntl.lockf(file, fcntl.LOCK_EX)
print('held', flush=True)
sys.stdin.read()
"""


def run_whose_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, does: str) -> BenchmarkRun:
    """A prepared run; the process that would train it runs a line of shell instead."""
    (run,) = Benchmark(read_rows([VQ], OPTIONS), [0], [1.0], tmp_path).tuning_runs()
    run.folder.mkdir(parents=True)
    python = tmp_path / 'python'
    python.write_text(f'#!/bin/sh\n{does}\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, 'executable', str(python))
    return run


def test_a_run_whose_process_dies_is_a_failure_with_its_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run = run_whose_process(monkeypatch, tmp_path, 'kill -KILL $$')
    assert execution.execute(run, {})['reason'].startswith('the process ended with signal 9; see ')
    result = json.loads((run.folder / 'result.json').read_text())
    assert result['status'] == 'failed'
    assert result['seconds'] >= 0
    assert execution.execute(run, {}) == result  # it is kept, and nothing is trained again
    execution.forget_failure(run.folder)
    assert run.result() is None


def test_a_run_that_was_interrupted_is_not_a_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run = run_whose_process(monkeypatch, tmp_path, 'exit 130')
    assert execution.execute(run, {})['reason'].startswith('interrupted')
    assert run.result() is None


def test_a_second_process_leaves_a_folder_alone_and_names_the_first(tmp_path: Path) -> None:
    (run,) = Benchmark(read_rows([VQ], OPTIONS), [0], [1.0], tmp_path).tuning_runs()
    run_module.prepare(run, [])
    with holder(run.folder / 'lock') as other:
        (run.folder / 'lock').write_text(f'{other.pid}\n')
        assert execution.execute(run, {})['reason'].startswith(f'process {other.pid} trains in {run.folder} already')
        assert worker.main(run.folder) == BUSY
        assert run.result() is None
        assert not (run.folder / 'history.jsonl').exists()
        other.kill()


def test_a_process_that_finds_the_run_finished_trains_nothing(tmp_path: Path) -> None:
    (run,) = Benchmark(read_rows([VQ], OPTIONS), [0], [1.0], tmp_path).tuning_runs()
    run_module.prepare(run, [])
    leave_result(run.folder, 20.0)
    before = (run.folder / 'result.json').read_text()
    assert worker.main(run.folder) == 0
    assert execution.execute(run, {})['metrics']['psnr']['value'] == 20.0
    assert (run.folder / 'result.json').read_text() == before
    assert not (run.folder / 'history.jsonl').exists()


def test_a_scheduler_that_stops_a_process_has_not_made_it_fail(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run = run_whose_process(monkeypatch, tmp_path, f'exit {STOPPED}')
    assert STOPPED != BUSY
    assert execution.execute(run, {})['reason'].startswith('interrupted')
    assert run.result() is None


def holder(lock: Path) -> subprocess.Popen[bytes]:
    """A process that holds a lock."""
    other = subprocess.Popen([sys.executable, '-c', HOLD, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout is not None
    assert other.stdout.readline() == b'held\n'
    return other


def test_a_killed_benchmark_takes_its_runs_with_it(tmp_path: Path) -> None:
    options = ['train_dataloader.batch_size=2', 'model.tokenizer.quantizer.codebook_size=16']
    call = [VQ, '--steps', '5000', '--perceptual', 'none', '--work-dir', str(tmp_path), '--cfg-options', *options]
    benchmark = subprocess.Popen([sys.executable, str(REPO / 'tools/benchmark.py'), *call], stdout=subprocess.DEVNULL)
    folder = run_module.run_folder(tmp_path, 'mini/vq', 1.0, 0)
    try:
        wait_for(lambda: (folder / 'history.jsonl').exists() and not is_free(folder / 'lock'))
    finally:
        benchmark.kill()
        benchmark.wait()
    wait_for(lambda: is_free(folder / 'lock'))


def wait_for(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def is_free(lock: Path) -> bool:
    """Whether no process holds it."""
    with open(lock, 'a') as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return False
    return True


def test_a_folder_that_cannot_be_made_costs_only_its_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = read_rows([VQ, FVQ], OPTIONS)
    (tmp_path / 'runs/mini').mkdir(parents=True)
    (tmp_path / 'runs/mini/vq').write_text('a file in the way')
    trained = []

    def execute(run: BenchmarkRun, env: object) -> dict[str, object]:
        trained.append(run.row)
        return {'status': 'failed', 'reason': 'reached'}

    monkeypatch.setattr(local_processes, 'execute', execute)
    Benchmark(rows, [0], [1.0], tmp_path).train(LocalProcesses(make_slots('1', 1)), print)
    assert trained == ['mini/fvq']
    assert 'mini/vq lr x1 seed 0: FAILED: NotADirectoryError' in capsys.readouterr().out
