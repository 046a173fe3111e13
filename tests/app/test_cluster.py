"""A benchmark on a cluster: by submitit's local executor, and by a Slurm whose commands are scripts."""

from __future__ import annotations

import csv
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip('submitit', reason='needs the extra fvq[cluster]')

from fvq_core.training.hooks.history import HISTORY_NAME, History
from fvq_eval.benchmark.cluster_jobs import ClusterJobs
from fvq_eval.benchmark.launcher import Ended
from fvq_eval.benchmark.rows import read_rows
from fvq_eval.benchmark.run import BenchmarkRun
from fvq_eval.benchmark.scheduler import Benchmark
from fvq_eval.commands.benchmark import main

from ..eval.benchmark_runs import FVQ, VQ

pytestmark = [pytest.mark.processes, pytest.mark.usefixtures('submitit_reads_again')]

SHORT = [
    'val_dataloader.dataset.crops=4',
    'train_dataloader.batch_size=2',
    'model.tokenizer.quantizer.codebook_size=64',
]
STEPS = 60
LONG = {
    'val_dataloader.dataset.crops': 4,
    'train_dataloader.batch_size': 2,
    'model.tokenizer.quantizer.codebook_size': 16,
    'train_cfg.max_iters': STEPS,
    'default_hooks.training_log.interval': 1,
}
# Each runs what the batch file holds, once for each index of the array, in the background.
SBATCH = """\
#!{python}
import os, re, subprocess, sys
text = open(sys.argv[1]).read()
count = int(re.search(r'--array=0-(\\d+)', text).group(1)) + 1
for index in range(count):
    facts = dict(SLURM_JOB_ID=str(7 + index), SLURM_ARRAY_JOB_ID='7', SLURM_ARRAY_TASK_ID=str(index), SLURM_PROCID='0')
    log = open(f'{sys.argv[1]}.{index}.log', 'w')  # not the pipe to submitit, which closes
    subprocess.Popen(['bash', '-c', text], env={**os.environ, **facts}, stdout=log, stderr=log)
print('Submitted batch job 7')
"""
SRUN = """\
#!{python}
import os, sys
command = sys.argv[1:]
while command[0].startswith('--'):
    del command[: 1 + (command[0] in ('--output', '--error'))]
os.execvp(command[0], command)
"""
SACCT = '#!/bin/sh\necho "JobID|State|NodeList"\necho "7_0|RUNNING|here"\necho "7_1|RUNNING|here"\n'


@pytest.fixture
def submitit_reads_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal of preemption is read from the environment when submitit is imported."""
    monkeypatch.delenv('SUBMITIT_PREEMPT_SIGNAL', raising=False)
    for name in [name for name in sys.modules if name.partition('.')[0] == 'submitit']:
        monkeypatch.delitem(sys.modules, name)


def call(work_dir: Path, *slurm: str) -> int:
    options = [
        '--steps',
        '2',
        '--perceptual',
        'none',
        '--work-dir',
        str(work_dir),
        '--launcher',
        'slurm',
        '--slurm',
        *slurm,
    ]
    return main([VQ, FVQ, *options, '--cfg-options', *SHORT])


def test_the_runs_of_a_benchmark_are_jobs_and_its_report_is_one(tmp_path: Path) -> None:
    assert call(tmp_path, 'cluster=local') == 0
    lines = list(csv.DictReader((tmp_path / 'report.csv').read_text().splitlines()))
    assert sorted(line['row'] for line in lines) == ['fvq', 'vq']
    jobs = [json.loads((tmp_path / f'runs/mini/{row}/lr1/seed0/job.json').read_text())['job'] for row in ('vq', 'fvq')]
    assert len(set(jobs)) == 2
    assert len(list((tmp_path / 'jobs').glob('*_submitted.pkl'))) == 2
    assert call(tmp_path, 'cluster=local') == 0  # everything is there
    assert len(list((tmp_path / 'jobs').glob('*_submitted.pkl'))) == 2


def test_slurm_gets_one_array_with_what_the_options_ask_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    commands = tmp_path / 'bin'
    commands.mkdir()
    for name, text in (('sbatch', SBATCH), ('srun', SRUN), ('sacct', SACCT)):
        (commands / name).write_text(text.replace('{python}', sys.executable))
        (commands / name).chmod(0o755)
    monkeypatch.setenv('PATH', f'{commands}:{os.environ["PATH"]}')
    assert call(tmp_path / 'runs', 'partition=short', 'time=60', 'gpus=1', 'cpus=3', 'account=me', '--jobs', '1') == 0
    (batch,) = (tmp_path / 'runs/jobs').glob('*_submission.sh')
    asked = set(batch.read_text().splitlines())
    for line in ('partition=short', 'time=60', 'gpus-per-node=1', 'cpus-per-task=3', 'account=me', 'array=0-1%1'):
        assert f'#SBATCH --{line}' in asked
    assert '#SBATCH --signal=USR1@90' in asked
    results = [json.loads(path.read_text()) for path in (tmp_path / 'runs').rglob('result.json')]
    assert [result['status'] for result in results] == ['finished', 'finished']


def one_run(work_dir: Path) -> BenchmarkRun:
    (run,) = Benchmark(read_rows([VQ], LONG), [0], [1.0], work_dir).tuning_runs()
    return run


def in_a_thread(launcher: ClusterJobs, run: BenchmarkRun) -> tuple[threading.Thread, list[Ended | None]]:
    """Launch a run as a call of the benchmark does; the thread has ended when the run has."""
    ended: list[Ended | None] = []
    thread = threading.Thread(target=lambda: ended.extend(launcher.launch([run], [])))
    thread.start()
    return thread, ended


def steps(run: BenchmarkRun) -> list[int]:
    return [row['iter'] for row in History(run.folder / HISTORY_NAME).rows() if row['split'] == 'train']


def wait_for(condition: Callable[[], bool], seconds: float = 600.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_job_that_is_requeued_goes_on_from_its_checkpoint_to_the_same_numbers(tmp_path: Path) -> None:
    results: dict[str, Any] = {}
    for name in ('straight', 'requeued'):
        run = one_run(tmp_path / name)
        thread, ended = in_a_thread(ClusterJobs(tmp_path / name, {'cluster': 'local'}, 1), run)
        if name == 'requeued':
            wait_for(lambda run=run: len(steps(run)) > 5)
            worker = int((run.folder / 'lock').read_text())
            job = int(Path(f'/proc/{worker}/stat').read_text().rpartition(')')[2].split()[1])
            for pid in (worker, job):  # a scheduler signals every process of a job
                os.kill(pid, signal.SIGUSR1)
        thread.join(timeout=900)
        ((_, result),) = [pair for pair in ended if pair is not None]
        assert result['status'] == 'finished', result
        results[name] = result['metrics']
        assert steps(run) == list(range(1, STEPS + 1))
        log = (run.folder / 'log.txt').read_text()
        assert ('resumed' in log) == (name == 'requeued')
        assert ('stopped by a signal after iteration' in log) == (name == 'requeued')
    assert results['requeued'] == results['straight']


def test_two_calls_on_one_folder_train_a_run_once(tmp_path: Path) -> None:
    run = one_run(tmp_path)
    options = {'cluster': 'local'}
    first, of_first = in_a_thread(ClusterJobs(tmp_path, options, 1), run)
    wait_for((run.folder / 'job.json').exists)
    second, of_second = in_a_thread(ClusterJobs(tmp_path, options, 1), run)
    for thread in (first, second):
        thread.join(timeout=900)
    results = [[pair[1] for pair in ended if pair is not None] for ended in (of_first, of_second)]
    assert results[0] == results[1]
    assert [result['status'] for result in results[0]] == ['finished']
    assert len(list((tmp_path / 'jobs').glob('*_submitted.pkl'))) == 1
    assert steps(run) == list(range(1, STEPS + 1))


def test_a_job_that_ends_before_its_run_leaves_a_line_and_a_call_that_goes_on(tmp_path: Path) -> None:
    run = one_run(tmp_path)
    thread, ended = in_a_thread(ClusterJobs(tmp_path, {'cluster': 'local'}, 1), run)
    wait_for(lambda: len(steps(run)) > 5)
    job = int(json.loads((run.folder / 'job.json').read_text())['job'])
    worker = int((run.folder / 'lock').read_text())
    os.kill(job, signal.SIGKILL)  # the controller, then the process of the job, with which the run ends
    os.kill(int(Path(f'/proc/{worker}/stat').read_text().rpartition(')')[2].split()[1]), signal.SIGKILL)
    thread.join(timeout=900)
    ((_, result),) = [pair for pair in ended if pair is not None]
    assert result['reason'].startswith(f'job {job} ended (INTERRUPTED) before the run did; call again to continue it')
    wait_for(lambda: not Path(f'/proc/{worker}').exists())
    thread, ended = in_a_thread(ClusterJobs(tmp_path, {'cluster': 'local'}, 1), run)
    thread.join(timeout=900)
    ((_, result),) = [pair for pair in ended if pair is not None]
    assert result['status'] == 'finished'


def test_options_that_submitit_does_not_know_are_refused_before_anything_trains(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(tmp_path, 'cluster=local', 'partitoin=gpu') == 2
    assert "Unknown argument 'partitoin'" in capsys.readouterr().err
    assert call(tmp_path, 'cluster=lsf') == 2
    assert "no cluster 'lsf'" in capsys.readouterr().err
    assert not (tmp_path / 'runs').exists()
