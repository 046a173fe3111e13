"""Where the ranks of a run meet away from their devices: to stop together, and to find out which of them is late."""

from __future__ import annotations

import atexit
import multiprocessing.util  # registers its own exit function first, so that ours runs before it
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import distributed_c10d

from ..errors import UserError
from .distributed import TIMEOUT_S

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)  # of a scheduler before it takes the machine away
STOPPED = 75  # EX_TEMPFAIL of sysexits.h: "try again later", the exit code of a run that was stopped by such a signal
GRACE_S = 5.0  # until every rank that waits in vain has said so
TIMED_OUT = re.compile('timed? ?out', re.IGNORECASE)
LOST = re.compile('Connection (reset|closed) by peer')


class Meeting:
    """Agreement of the ranks of a run without their devices.

    Over gloo it is an all-reduce, which notices at once if a rank has died. Beside NCCL it goes through the store of the
    process group: no rank waits for its GPU, and no second group is needed.

    Args:
        timeout_s: Seconds that a rank waits for the others.

    Attributes:
        received: The signal that asked this process to stop; None if there was none.
    """

    def __init__(self, timeout_s: float = TIMEOUT_S) -> None:
        self.timeout_s, self.rounds = timeout_s, 0
        self.received: signal.Signals | None = None
        self.store: Any = None
        if dist.is_initialized():
            self.rank, self.ranks = dist.get_rank(), dist.get_world_size()
            store = distributed_c10d._get_default_store()  # no public function returns it
            number = store.add(f'fvq/meetings/{self.rank}', 1)  # the same on all ranks: each run of theirs has one
            self.store = dist.PrefixStore(f'fvq/meeting_{number}', store)

    def stop_agreed(self) -> bool:
        """Whether any rank received a signal to stop. Every rank must ask at the same iterations, and gets the same answer."""
        if self.store is None:
            return self.received is not None
        if dist.get_backend() != 'gloo':
            return self._stop_agreed_in_store()
        flag = torch.tensor(self.received is not None, dtype=torch.int32)
        dist.all_reduce(flag, dist.ReduceOp.MAX)
        return bool(flag)

    def _stop_agreed_in_store(self) -> bool:
        self.rounds += 1
        arrived, stop, answer = f'arrived/{self.rounds}', f'stop/{self.rounds}', f'answer/{self.rounds}'
        if self.received is not None:
            self.store.set(stop, '1')
        if self.store.add(arrived, 1) == self.ranks:
            self.store.set(answer, '1' if self.store.check([stop]) else '0')
            self.store.delete_key(arrived)
            self.store.delete_key(f'answer/{self.rounds - 1}')  # who arrives here has read it
        self.store.wait([answer], timedelta(seconds=self.timeout_s))
        return self.store.get(answer) == b'1'

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Note signals to stop, and make a `UserError` of a collective that times out, naming the late ranks, or loses one."""
        # Python accepts handlers in the main thread only.
        noted = STOP_SIGNALS if threading.current_thread() is threading.main_thread() else ()
        before = {number: signal.signal(number, self._note) for number in noted}
        try:
            yield
        except RuntimeError as error:  # gloo and the store have no classes of their own for these
            if self.store is not None and LOST.search(str(error)):
                raise UserError(
                    f'rank {self.rank} of {self.ranks} lost another rank, whose own output says why it ended; --resume goes on '
                    'from the last checkpoint.'
                ) from error
            if self.store is None or not TIMED_OUT.search(str(error)):
                raise
            raise UserError(
                f'{self.late_ranks()} did not take part in a collective within {self.timeout_s:g} s; look at their output and '
                'machines, or give them longer (--cfg-options timeout=SECONDS).'
            ) from error
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: Any) -> None:
        self.received = signal.Signals(number)

    def late_ranks(self) -> str:
        """The ranks that do not wait as this one does; every rank that timed out calls it."""
        self.store.set(f'waited/{self.rank}', '1')
        time.sleep(min(GRACE_S, self.timeout_s))
        late = [str(rank) for rank in range(self.ranks) if not self.store.check([f'waited/{rank}'])]
        if not late:
            return 'ranks that wait for one another in different places'
        return f'rank{"s" * (len(late) > 1)} {", ".join(late)} of {self.ranks}'


def outlive_first_signal(worker: int) -> None:
    """For the workers of a data loader: schedulers signal every process of a job, and a rank still needs its batches."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))
    signal.signal(signal.SIGUSR2, lambda *_: os._exit(0))


@atexit.register
def end_workers() -> None:
    """End workers that are left at exit: multiprocessing sends them one SIGTERM, which they outlive, and waits for ever."""
    for child in multiprocessing.active_children():
        if child.daemon and child.pid is not None:
            os.kill(child.pid, signal.SIGUSR2)
