"""Two processes joined over gloo, for every test that compares two ranks with one process."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

RANKS = 2
GRACE = 5.0  # seconds that a rank has to report its own error once the other has failed
# Forked from a process that has imported torch, a rank starts in milliseconds. Elsewhere forking after imports is not safe.
CONTEXT = multiprocessing.get_context('forkserver' if sys.platform == 'linux' else 'spawn')
PRELOAD = [
    'fvq_core.training.runner',
    'fvq_eval.generation',
    'fvq_generators.llamagen',
    'fvq_quantizers.vector_quantizer',
]


class RankError(Exception):
    """A rank raised, died, or did not answer in time."""


class JoinError(Exception):
    """Gloo could not connect the ranks, as happens now and then on a busy machine; the function has not been called."""


class TwoRanks:
    """A pair of processes that runs the functions it is sent.

    Both start at the first call, and again after one that failed: no case costs another.
    """

    def __init__(self) -> None:
        self.processes: list[Any] = []
        self.connections: list[Connection] = []

    def run(self, function: Callable[..., Any], *arguments: Any, timeout: float = 300.0) -> list[Any]:
        """Call `function(rank, *arguments)` in both processes, seeded alike, in a process group of its own.

        Args:
            function: Importable by its name. An error that is expected is caught inside and returned.
            arguments: Copied to the processes.
            timeout: Seconds until both must have answered.

        Returns:
            What each process returned, rank 0's first.

        Raises:
            RankError: With the traceback of each rank that raised.
        """
        answers, errors = self.call(function, arguments, timeout)
        if any(JoinError.__name__ in error for error in errors.values()):
            self.close()
            answers, errors = self.call(function, arguments, timeout)
        if errors:
            self.close()
            raise RankError('\n'.join(f'rank {rank}: {errors[rank]}' for rank in sorted(errors)))
        return [answers[rank] for rank in range(RANKS)]

    def call(self, function: Callable[..., Any], arguments: tuple[Any, ...], timeout: float) -> Any:
        """Results and errors by rank of one attempt."""
        if not self.processes:
            self.start()
        with tempfile.TemporaryDirectory() as folder:
            request = pickle.dumps((f'{folder}/rendezvous', function, arguments))
            for connection in self.connections:
                connection.send_bytes(request)
            return self.collect(time.monotonic() + timeout)

    def collect(self, deadline: float) -> tuple[dict[int, Any], dict[int, str]]:
        """Results and errors by rank."""
        answers: dict[int, Any] = {}
        errors: dict[int, str] = {}
        while len(waiting := set(range(RANKS)) - answers.keys() - errors.keys()) > 0:
            ready = wait([self.connections[rank] for rank in waiting], max(0.0, deadline - time.monotonic()))
            if not ready:
                errors.update(dict.fromkeys(waiting, 'no answer in time'))
            for rank in waiting:
                if self.connections[rank] not in ready:
                    continue
                try:
                    succeeded, value = pickle.loads(self.connections[rank].recv_bytes())
                except (EOFError, ConnectionError):
                    self.processes[rank].join(GRACE)
                    succeeded, value = False, f'the process ended with exit code {self.processes[rank].exitcode}'
                (answers if succeeded else errors)[rank] = value
                if not succeeded:  # the other may wait for this one for ever
                    deadline = min(deadline, time.monotonic() + GRACE)
        return answers, errors

    def start(self) -> None:
        if CONTEXT.get_start_method() == 'forkserver':
            CONTEXT.set_forkserver_preload(PRELOAD)
        for rank in range(RANKS):
            ours, theirs = CONTEXT.Pipe()
            process = CONTEXT.Process(target=serve, args=(rank, theirs))
            process.start()
            theirs.close()
            self.connections.append(ours)
            self.processes.append(process)

    def close(self) -> None:
        """End both processes."""
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.join()
        for connection in self.connections:
            connection.close()
        self.processes, self.connections = [], []


def serve(rank: int, connection: Connection) -> None:
    """One of the processes, which ends with the connection."""
    torch.set_num_threads(1)
    # The environment of torchrun, for commands that ask where they run.
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(RANKS), GLOO_SOCKET_IFNAME='lo')
    while True:
        try:
            rendezvous, function, arguments = pickle.loads(connection.recv_bytes())
        except EOFError:
            return
        try:
            answer = (True, call(rank, rendezvous, function, arguments))
        except BaseException:  # reported to the test
            answer = (False, traceback.format_exc())
        connection.send_bytes(pickle.dumps(answer))


def call(rank: int, rendezvous: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    try:
        dist.init_process_group('gloo', init_method=f'file://{rendezvous}', rank=rank, world_size=RANKS)
    except RuntimeError as error:
        raise JoinError(str(error)) from error
    for seed in (torch.manual_seed, random.seed, np.random.seed):
        seed(0)
    result = function(rank, *arguments)
    if dist.is_initialized():  # a command leaves the group itself
        dist.barrier()
        dist.destroy_process_group()
    return result
