"""A call that ends in time: it starts no run that does not fit, and runs under way stop at a checkpoint."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fvq_core.errors import UserError
from fvq_core.files.json import read_json
from fvq_core.training.checkpoint import checkpoint_iteration, list_checkpoints

from .run import FINISHED, REQUEST, RESULT, RUNS, BenchmarkRun

# Environment of a run: when it is to stop, in seconds since the epoch, and how many seconds were left when the first run of
# its slot could start.
STOP_AT, CALL_SECONDS = 'FVQ_STOP_AT', 'FVQ_CALL_SECONDS'
MARGIN_S = 30.0  # of a call, for last checkpoints and the report
TO_COME = 'to come'  # status of a run that was left to the next call


def limit_slots(slots: Sequence[dict[str, str]], minutes: float) -> None:
    """Give the environments of runs a time at which they stop.

    Args:
        minutes: Of the whole call, from now on.
    """
    if not minutes > 0:
        raise UserError(f'benchmark: --minutes must be above 0, got {minutes}.')
    seconds = 60 * minutes - min(MARGIN_S, 6 * minutes)
    for slot in slots:
        slot[STOP_AT] = str(time.time() + seconds)


def left_out(run: BenchmarkRun, env: dict[str, str]) -> dict[str, Any] | None:
    """The result of a run that does not fit into what is left; None if it may start.

    It may if it fits, if nobody knows how long it takes, or if it fits no call, not even as its first, and is done in pieces.
    """
    if STOP_AT not in env:
        return None
    left, needed = float(env[STOP_AT]) - time.time(), seconds_needed(run)
    whole = float(env.setdefault(CALL_SECONDS, str(left)))
    if left > 0 and (needed is None or needed <= left or needed > whole):
        return None
    return {
        'status': TO_COME,
        'reason': 'does not fit into the time left of --minutes; call again to continue',
    }


def stop_in_time() -> None:
    """Have this process told to save a checkpoint and stop when its time is over."""
    if STOP_AT in os.environ:
        seconds = max(0.0, float(os.environ[STOP_AT]) - time.time())
        timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGTERM))
        timer.daemon = True
        timer.start()


def seconds_needed(run: BenchmarkRun) -> float | None:
    """What a run still takes, by the slowest finished run of its config, else of any; None without one."""
    steps = run.cfg.train_cfg.get('max_iters')
    found = list(finished_runs(next(folder for folder in run.folder.parents if folder.name == RUNS)))
    own = [result for source, result in found if source == run.source] or [result for _, result in found]
    if not own or steps is None:
        return None
    a_step = max(result['seconds'] / result['steps'] for result in own)
    other = max(result.get('other_seconds') or 0.0 for result in own)
    return (steps - saved_steps(run.folder)) * a_step + other


def finished_runs(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The config that each finished run was made of, and its result."""
    for path in folder.rglob(RESULT):
        result, request = read_json(path), read_json(path.with_name(REQUEST))
        if result is not None and request is not None and result.get('status') == FINISHED:
            yield request['config'], result


def saved_steps(folder: Path) -> int:
    """The step of the newest checkpoint of a run; 0 without one."""
    saved = list_checkpoints(folder)
    return checkpoint_iteration(saved[0]) if saved else 0
