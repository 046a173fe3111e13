"""Run a command for so many seconds at most, in a process group of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

GRACE = 5.0  # seconds that launchers have to end workers in other groups


@dataclass(frozen=True)
class Ended:
    """How a command ended; `code` is None if it was killed at its budget."""

    code: int | None
    seconds: float
    stdout: str
    stderr: str


def run(command: list[str], seconds: float, env: Mapping[str, str], cwd: Path) -> Ended:
    """Run a command; what is left of its group afterwards, or when this process is interrupted, is killed."""
    start = time.monotonic()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
        )
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
            send(process, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE)
        finally:
            send(process, signal.SIGKILL)
            process.wait()
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors='replace'))
    return Ended(code, time.monotonic() - start, *texts)


def send(process: subprocess.Popen, number: int) -> None:
    """Send a signal to the group of a process, whose leader may have ended."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
