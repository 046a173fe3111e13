"""A tracker that cannot hurt its run: it works in a thread of its own, and is switched off when it fails."""

from __future__ import annotations

import logging
import queue
import threading
from contextlib import suppress
from typing import Any, cast

from mmengine.visualization.vis_backend import BaseVisBackend

CAPACITY = 1000  # records that may wait for a slow tracker
logger = logging.getLogger('fvq')


class Tracker(BaseVisBackend):
    """Passes records on to a back-end in a thread, in order.

    What the back-end raises, or a network that is too slow for it, costs one warning: it is then off, and the run goes on.
    The thread's first record is waited for, because libraries are imported then, and a process must not fork meanwhile.

    Args:
        name: How messages call it.
        backend: A back-end of mmengine's visualizer. It may also have `add_checkpoint(facts, step)`, and `unfinished()`, called
            before `close` if the run did not reach its end.
        start_timeout: Seconds that the start may take.
        close_timeout: Seconds that the end may take, in which the last records are written.
    """

    def __init__(self, name: str, backend: Any, start_timeout: float = 180.0, close_timeout: float = 60.0) -> None:
        super().__init__(getattr(backend, '_save_dir', ''))
        self.name, self.backend = name, backend
        self.start_timeout, self.close_timeout = start_timeout, close_timeout
        self.records: queue.Queue[tuple[str, tuple[Any, ...], threading.Event]] = queue.Queue(CAPACITY)
        self.lock, self.off = threading.Lock(), False
        self.thread = threading.Thread(target=self._work, name=f'tracker {name}', daemon=True)

    @property
    def experiment(self) -> Any:
        """The library's own object, as mmengine's back-ends give it."""
        return self.backend.experiment

    def _init_env(self) -> None:
        """Nothing: the back-end starts with its first record."""

    def add_config(self, config: Any, **kwargs: Any) -> None:
        """The first record: the back-end starts."""
        self.thread.start()
        self._wait(self._send('add_config', config), self.start_timeout, 'it did not start')

    def add_scalars(
        self, scalar_dict: dict[str, Any], step: int = 0, file_path: str | None = None, **kwargs: Any
    ) -> None:
        self._send('add_scalars', dict(scalar_dict), step)

    def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs: Any) -> None:
        self._send('add_scalars', {name: value}, step)

    def add_image(self, name: str, image: Any, step: int = 0, **kwargs: Any) -> None:
        self._send('add_image', name, image.copy(), step)

    def add_checkpoint(self, facts: dict[str, Any], step: int) -> None:
        """What a checkpoint is, not what it holds; a back-end that has no place for it gets its size as a curve."""
        if hasattr(self.backend, 'add_checkpoint'):
            self._send('add_checkpoint', facts, step)
        else:
            self._send('add_scalars', {'checkpoint/bytes': facts['bytes']}, step)

    def close(self, finished: bool = True) -> None:
        """Write what is left, and end; `finished` says whether the run reached its end."""
        if self.thread.ident is None:  # it never started
            return
        if not finished and hasattr(self.backend, 'unfinished'):
            self._send('unfinished')
        self._wait(self._send('close'), self.close_timeout, 'it did not end')
        self.off = True

    def _send(self, method: str, *arguments: Any) -> threading.Event | None:
        """Leave a record to the thread; what is set once it is done. None if the tracker is off."""
        done = threading.Event()
        try:
            if not self.off:
                self.records.put_nowait((method, arguments, done))
                return done
        except queue.Full:
            self.turn_off(f'it is too slow: {CAPACITY:,} records are waiting')
        return None

    def _wait(self, done: threading.Event | None, seconds: float, what: str) -> None:
        if done is not None and not done.wait(seconds):
            self.turn_off(f'{what} within {seconds:g} s')

    def _work(self) -> None:
        method = ''
        while not self.off and method != 'close':
            method, arguments, done = self.records.get()
            try:
                getattr(self.backend, method)(*arguments)
            except BaseException as error:  # a stranger's library may raise anything, SystemExit too
                self.turn_off(f'{type(error).__name__}: {" ".join(str(error).split())[:300]}')
                if method != 'close':
                    with suppress(Exception):  # it has failed already; what it wrote before may still be kept
                        self.backend.close()
            finally:
                done.set()

    def turn_off(self, reason: str) -> None:
        """Record nothing from now on, and say so once."""
        with self.lock:
            was_off, self.off = self.off, True
        if not was_off:
            logger.warning(f'the tracker {self.name} is off from here on: {reason}. The run goes on.')


def as_tracker(backend: BaseVisBackend) -> Tracker:
    """A back-end of a `Trackers` visualizer, all of which are of this class."""
    return cast(Tracker, backend)
