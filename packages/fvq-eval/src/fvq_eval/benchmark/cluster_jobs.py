"""Runs as jobs of a cluster, one array for each call, through submitit."""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from fvq_core.errors import UserError, nearest_hint

from .cluster_job import LOCAL, SubmittedJob, TrainJob
from .execution import already_ended
from .launcher import REPORT_EVERY, Ended, failed_to_start
from .run import FAILED, BenchmarkRun, prepare

JOBS = 'jobs'  # folder of submitit's files, in the work dir
LOOK_EVERY = 2.0  # seconds between two looks at files; submitit asks Slurm less often
REQUEUES = 100  # of a job whose time is over
# Short names of options; others are submitit's, or sbatch's as submitit spells them.
NAMES = dict(time='timeout_min', cpus='cpus_per_task', gpus='gpus_per_node')
CLUSTERS = ('slurm', LOCAL)
DEFAULTS = dict(time=240, name='fvq-benchmark')


class ClusterJobs:
    """Each run is a job that asks for its own processors and GPUs.

    Jobs outlive this process: another call of the same benchmark waits for them.

    Args:
        work_dir: Of the benchmark, on a disk that all machines share.
        options: `partition`, `time` in minutes, `gpus` and `cpus` of a job, and whatever else submitit takes;
            `cluster='local'` is this machine, for trying it out.
        threads: CPU threads of a run, and processors of a job if `options` name none.
        at_once: Jobs that may run at a time; None leaves it to the cluster.

    Raises:
        UserError: submitit is missing, there is no Slurm, or an option is none of submitit's.
    """

    queued = True

    def __init__(self, work_dir: Path, options: Mapping[str, Any], threads: int, at_once: int | None = None) -> None:
        # Of all signals this one leaves a data loader's workers alive while the run writes its checkpoint; submitit reads it
        # when it is imported.
        os.environ.setdefault('SUBMITIT_PREEMPT_SIGNAL', 'USR1')
        try:
            import submitit
        except ImportError as error:
            raise UserError(
                'benchmark: --launcher slurm needs submitit; install it with pip install "fvq[cluster]".'
            ) from error
        self.folder = work_dir.absolute() / JOBS
        self.env = {'OMP_NUM_THREADS': str(threads), 'MKL_NUM_THREADS': str(threads)}
        wanted = {**DEFAULTS, 'cpus': threads, **options}
        self.cluster = str(wanted.pop('cluster', 'slurm'))
        if self.cluster not in CLUSTERS:
            raise UserError(f"benchmark: --slurm: no cluster '{self.cluster}'; {nearest_hint(self.cluster, CLUSTERS)}")
        if at_once is not None:
            wanted.setdefault('array_parallelism', at_once)
        try:
            self.executor = submitit.AutoExecutor(self.folder, self.cluster, slurm_max_num_timeout=REQUEUES)
            shared = self.executor._valid_parameters()  # what has no prefix; no public name tells
            named = {NAMES.get(name, name): value for name, value in wanted.items()}
            self.executor.update_parameters(
                **{name if name in shared else f'slurm_{name}': value for name, value in named.items()}
            )
        except (RuntimeError, NameError, ValueError, AssertionError) as error:
            raise UserError(f'benchmark: --slurm: {" ".join(str(error).split())}') from error
        self.jobs: list[tuple[BenchmarkRun, SubmittedJob]] = []

    def active(self) -> list[BenchmarkRun]:
        """The runs that train now, as far as Slurm was asked."""
        return [run for run, job in self.jobs if job.state == 'RUNNING']

    def launch(
        self, runs: Sequence[BenchmarkRun], extra_metrics: list[dict[str, Any]]
    ) -> Generator[Ended | None, None, None]:
        """See `Launcher`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / 'submitting.lock'):  # of two calls the second finds the jobs of the first
            yield from self.submit(runs, extra_metrics)
        shown = time.monotonic()
        while self.jobs:
            ended = [(run, job) for run, job in self.jobs if job.ended()]
            for pair in ended:
                self.jobs.remove(pair)
                yield pair[0], result_of(*pair)
            if ended or time.monotonic() - shown > REPORT_EVERY:
                shown = time.monotonic()
                if not ended:
                    yield None
            elif self.jobs:
                time.sleep(LOOK_EVERY)

    def submit(self, runs: Sequence[BenchmarkRun], extra_metrics: list[dict[str, Any]]) -> Generator[Ended, None, None]:
        """Find the jobs of earlier calls, and submit the other runs as one array; those that cannot start are failures."""
        self.jobs, new = [], []
        for run in runs:
            try:
                found = SubmittedJob.found(run.folder, self.folder)
                if found is not None and not found.ended():
                    self.jobs.append((run, found))
                    continue
                prepare(run, extra_metrics)
                if (ended := already_ended(run.folder)) is not None:
                    yield run, ended
                else:
                    new.append(run)
            except Exception as error:  # whatever it is, the other rows go on
                yield run, failed_to_start(run, error)
        if not new:
            return
        with self.executor.batch():
            handles = [self.executor.submit(TrainJob(run.folder.absolute(), self.env)) for run in new]
        for run, handle in zip(new, handles, strict=True):
            job = SubmittedJob(self.cluster, handle, time.time(), own=True)
            job.note(run.folder)
            self.jobs.append((run, job))


def result_of(run: BenchmarkRun, job: SubmittedJob) -> dict[str, Any]:
    """What a run has left whose job has ended. submitit's own result is a pickle, and not opened."""
    result = run.result()
    if result is not None:
        return result
    logs = job.job.paths.stderr
    reason = f'job {job.job.job_id} ended ({job.state}) before the run did; call again to continue it; see {logs}'
    return {'status': FAILED, 'reason': reason}
