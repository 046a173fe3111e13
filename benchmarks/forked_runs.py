"""Commands in processes of their own, forked so that they need not import anything again, and killed."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.kill_moments import Moment, step_seconds
from fvq_core.commands import train

Command = Callable[[list[str]], int]


def start(arguments: list[str], log: Path, command: Command = train.main) -> int:
    """The command in a process of its own, whose output goes to the end of `log`; its id."""
    process = os.fork()
    if process:
        return process
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os._exit(command(arguments))


def check_status(process: int, log: Path) -> None:
    """Wait for the end, and end the benchmark if it is a failure."""
    _, status = os.waitpid(process, 0)
    if status:
        sys.exit(f'a run that nobody killed failed:\n{log.read_text()}')


def finish(arguments: list[str], log: Path, command: Command = train.main) -> None:
    """Run to the end."""
    check_status(start(arguments, log, command), log)


def has_ended(process: int) -> bool:
    """Whether a child has ended; its status stays to be fetched."""
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def watch(arguments: list[str], log: Path, finished: Callable[[], int], command: Command = train.main) -> list[float]:
    """Run to the end; the seconds of its steps."""
    process = start(arguments, log, command)
    seconds = step_seconds(finished, lambda: has_ended(process))
    check_status(process, log)
    return seconds


def killed_at(
    moment: Moment, arguments: list[str], log: Path, finished: Callable[[], int], command: Command = train.main
) -> bool:
    """Whether the kill came before the run's own end."""
    process = start(arguments, log, command)
    moment.wait(finished, lambda: has_ended(process))
    os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    return os.WIFSIGNALED(status)
