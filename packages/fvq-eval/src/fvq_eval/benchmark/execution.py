"""The process that trains a run, from its start to what it leaves."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fvq_core.files.json import read_json, write_json

from .run import FAILED, INTERRUPTED, LOG, RESULT, BenchmarkRun, failure, is_finished
from .run_process import BUSY, WATCHED, FolderBusyError, alone_in, busy


def execute(run: BenchmarkRun, env: Mapping[str, str]) -> dict[str, Any]:
    """Train in a process of its own, whose end cannot hurt any other run, and which ends with this process."""
    if (ended := already_ended(run.folder)) is not None:
        return ended
    started = time.monotonic()
    with worker_process(run.folder, env) as process:
        code = process.wait()
    return outcome(run.folder, code, time.monotonic() - started)


def already_ended(folder: Path) -> dict[str, Any] | None:
    """Why nothing is to be trained: the run has ended, or another process has its folder; None if it can start."""
    try:
        with alone_in(folder):
            return read_json(folder / RESULT)
    except FolderBusyError as error:
        return failure(error)


def forget_failure(folder: Path) -> None:
    """Remove the result of a failed run, so that it is tried again, unless another process has its folder."""
    with suppress(FolderBusyError), alone_in(folder):
        if not is_finished(folder):
            (folder / RESULT).unlink(missing_ok=True)


@contextmanager
def worker_process(folder: Path, env: Mapping[str, str]) -> Generator[subprocess.Popen[Any], None, None]:
    """Start `worker`, and wait for it at the end of the block."""
    command = [sys.executable, '-m', 'fvq_eval.benchmark.worker', str(folder), WATCHED]
    streams: Any = dict(stdin=subprocess.PIPE, stderr=subprocess.STDOUT)  # the first is never written to
    with (
        open(folder / LOG, 'a') as log,
        subprocess.Popen(command, env={**os.environ, **env}, stdout=log, **streams) as process,
    ):
        yield process


def outcome(folder: Path, code: int, seconds: float) -> dict[str, Any]:
    """What a process left that ended with this exit code; if it could not say so itself, its failure is written.

    Args:
        seconds: That the process took: the cost of such a failure.
    """
    if code == BUSY:
        return {'status': FAILED, 'reason': busy(folder)}
    result = read_json(folder / RESULT)
    if result is None and code in INTERRUPTED:
        return {'status': FAILED, 'reason': 'interrupted; call again to continue it'}
    if result is None:
        how = f'signal {-code}' if code < 0 else f'exit code {code}'
        reason = f'the process ended with {how}; see {folder / LOG}'
        result = {'status': FAILED, 'reason': reason, 'seconds': round(seconds, 1)}
        write_json(folder / RESULT, result)
    return result
