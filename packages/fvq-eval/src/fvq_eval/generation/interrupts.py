"""Ctrl-C that waits until nothing is half done."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def interrupt_later() -> Iterator[Callable[[], bool]]:
    """A first Ctrl-C inside is noted, not raised; the yielded function tells whether there was one. A second one is raised.

    Outside the main thread, or if the signal has another handler, nothing is noted.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield lambda: False
        return
    noted = False

    def note(number: int, frame: Any) -> None:
        nonlocal noted
        if noted:
            raise KeyboardInterrupt
        noted = True
        print(
            'stopping after the current images to keep what is done; press Ctrl-C again to stop at once',
            file=sys.stderr,
        )

    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: noted
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
