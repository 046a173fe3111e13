"""One run as a job of a cluster: what the job does, and whether it is still there."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fvq_core.files.json import read_json, write_json

from .execution import already_ended, outcome, worker_process
from .run import INTERRUPTED

JOB = 'job.json'  # in the folder of a run
SAVING_S = 60.0  # that a run has to write its checkpoint; Slurm kills a job 90 seconds after its warning
DECIDING_S = 600.0  # until a scheduler that has stopped a run also ends its job
UNKNOWN_S = 600.0  # that a scheduler may take to know a job that was submitted
LOCAL = 'local'  # submitit's name of this machine


class TrainJob:
    """What submitit pickles and calls on the machine of the job; a requeued job calls it again, and goes on.

    Args:
        folder: Of the run, absolute, on a disk that all machines share.
        env: Environment of the process that trains.
    """

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self.folder, self.env = folder, dict(env)
        self.process: subprocess.Popen[Any] | None = None

    def __call__(self) -> dict[str, Any]:
        if (ended := already_ended(self.folder)) is not None:
            return ended
        started = time.monotonic()
        with worker_process(self.folder, self.env) as self.process:
            while (code := self.process.poll()) is None:
                time.sleep(0.2)  # `wait` would hold a lock that a signal's handler, which calls `checkpoint`, may want
            if code in INTERRUPTED:
                # A scheduler signals all processes of a job, so the run may have stopped before this one was told to requeue.
                time.sleep(DECIDING_S)
        return outcome(self.folder, code, time.monotonic() - started)

    def checkpoint(self) -> Any:
        """The job was preempted, or its time is over: have the run write a checkpoint, and say what a requeued job calls."""
        from submitit.helpers import DelayedSubmission

        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            end = time.monotonic() + SAVING_S
            while time.monotonic() < end and not has_ended(self.process.pid):
                time.sleep(0.1)
        return DelayedSubmission(TrainJob(self.folder, self.env))


def has_ended(pid: int) -> bool:
    """Whether a child process has; its exit code is left for who waits for it."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # it was waited for
        return True


class SubmittedJob:
    """A job of this call, or of an earlier one that left `JOB` in the run's folder.

    Args:
        cluster: submitit's name of what it was submitted to.
        job: submitit's object.
        submitted: Seconds since the epoch.
        own: Whether this process submitted it.
    """

    def __init__(self, cluster: str, job: Any, submitted: float, own: bool) -> None:
        self.cluster, self.job, self.submitted, self.own = cluster, job, submitted, own

    @classmethod
    def found(cls, folder: Path, logs: Path) -> SubmittedJob | None:
        """The job that an earlier call submitted for a run; None if there was none, or nothing is known of it any more."""
        import submitit

        entry = read_json(folder / JOB)
        if entry is None:
            return None
        kind: Any = submitit.LocalJob if entry['cluster'] == LOCAL else submitit.SlurmJob
        return cls(entry['cluster'], kind(logs, entry['job']), entry['submitted'], own=False)

    def note(self, folder: Path) -> None:
        """Let later calls find it."""
        write_json(folder / JOB, dict(cluster=self.cluster, job=self.job.job_id, submitted=self.submitted))

    @property
    def state(self) -> str:
        """Slurm's word, such as RUNNING or TIMEOUT, when it was last asked."""
        if self.cluster != LOCAL:
            return str(self.job.watcher.get_state(self.job.job_id, 'cache'))  # `job.state` would ask again for each job
        if self.own:
            return str(self.job.state)
        return 'RUNNING' if is_local_job(self.job.job_id) else 'ENDED'

    def ended(self) -> bool:
        """Whether it neither runs nor waits; also if the scheduler has forgotten it."""
        if self.cluster == LOCAL and not self.own:
            return self.state == 'ENDED'
        if self.job.done():
            return True
        return self.state == 'UNKNOWN' and time.time() - self.submitted > UNKNOWN_S


def is_local_job(pid: str) -> bool:
    """Whether this process of this machine is a job of submitit's."""
    with contextlib.suppress(OSError):
        return b'submitit.local' in Path(f'/proc/{pid}/cmdline').read_bytes()
    return False
