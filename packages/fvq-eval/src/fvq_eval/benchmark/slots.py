"""Places for runs that go on at the same time."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class Slots:
    """Environments, each of one run at a time.

    Args:
        environments: One for each run that goes on at the same time.
    """

    def __init__(self, environments: Sequence[dict[str, str]]) -> None:
        self.count = len(environments)
        self.free: queue.SimpleQueue[dict[str, str]] = queue.SimpleQueue()
        for environment in environments:
            self.free.put(environment)

    @contextmanager
    def take(self) -> Iterator[dict[str, str]]:
        """Wait for a free one, and give it back at the end of the block."""
        environment = self.free.get()
        try:
            yield environment
        finally:
            self.free.put(environment)
