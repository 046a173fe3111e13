"""Two agents of torchrun on loopback, which stand for two machines with one rank each."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

PATIENCE_S = 240.0


def wait_until(holds: Callable[[], Any], what: str, seconds: float = PATIENCE_S) -> None:
    """Raises a `TimeoutError` if it does not hold in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f'in vain for {seconds:g} s: {what}')
        time.sleep(0.02)


class Agents:
    """Starts the agents of one run, kills them, and starts them again, as a scheduler would. Linux only.

    Args:
        arguments: A Python script and its arguments.
        logs: An existing folder. Every start of agent N appends to `agent_N.txt`.
    """

    def __init__(self, arguments: Sequence[str], logs: Path) -> None:
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            self.port = free.getsockname()[1]
        options = {
            'nnodes': '2',
            'nproc-per-node': '1',
            'max-restarts': '3',
            'local-addr': '127.0.0.1',
            'rdzv-backend': 'c10d',
            'rdzv-endpoint': f'127.0.0.1:{self.port}',
            'rdzv-conf': 'keep_alive_interval=1',  # an agent is taken for dead after three silent intervals, of 5 s by default
        }
        torchrun = [sys.executable, '-m', 'torch.distributed.run', *(f'--{key}={options[key]}' for key in options)]
        self.command, self.logs = [*torchrun, *arguments], logs
        self.processes: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, *numbers: int) -> None:
        """Start agents; the one that is there first keeps the rendezvous, and the others go to it."""
        for number in numbers:
            with open(self.log_file(number), 'ab') as log:
                self.processes[number] = subprocess.Popen(
                    self.command,
                    env={**os.environ, 'OMP_NUM_THREADS': '1', 'TORCH_DISABLE_SHARE_RDZV_TCP_STORE': '1'},
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            wait_until(self.has_rendezvous, 'a rendezvous')

    def has_rendezvous(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(('127.0.0.1', self.port)) == 0

    def log_file(self, number: int) -> Path:
        return self.logs / f'agent_{number}.txt'

    def running(self, number: int) -> bool:
        return self.processes[number].poll() is None

    def any_ended(self) -> bool:
        return not all(map(self.running, self.processes))

    def rank(self, number: int) -> int | None:
        """The process that runs an agent's rank; None if there is none now."""
        agent = self.processes[number].pid
        try:
            children = Path(f'/proc/{agent}/task/{agent}/children').read_text().split()
        except FileNotFoundError:
            return None
        return int(children[0]) if children else None

    def kill(self, number: int, agent: bool = True, rank: bool = True) -> bool:
        """Send SIGKILL to an agent, its rank, or both as if their machine died; false if one of them was not there."""
        process = self.rank(number)
        if not self.running(number) or (rank and process is None):
            return False
        if agent:
            self.processes[number].kill()
            self.processes[number].wait()
        if rank and process is not None:
            os.kill(process, signal.SIGKILL)
        return True

    def finish(self) -> bool:
        """Wait for both; whether both succeeded."""
        wait_until(lambda: not any(map(self.running, self.processes)), 'the end of both agents')
        return all(process.returncode == 0 for process in self.processes.values())

    def close(self) -> None:
        """End whatever runs."""
        for number in self.processes:
            self.kill(number, rank=self.rank(number) is not None)
