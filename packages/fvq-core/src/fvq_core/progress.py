"""How far a command is: a bar with time left on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from tqdm import tqdm

T = TypeVar('T')
SECONDS_BETWEEN_LINES = 30
SECONDS_WITHOUT = 1  # what takes no longer shows no bar


def clock(seconds: float) -> str:
    """h:mm:ss, or m:ss below an hour."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours}:{minutes:02d}:{seconds:02d}' if hours else f'{minutes}:{seconds:02d}'


def to_stderr(line: str) -> None:
    """The default of `Progress`: results on stdout stay clean."""
    print(line, file=sys.stderr, flush=True)


class Progress:
    """Counts what one process does; the first process shows it, and the others have about as much to do.

    Args:
        doing: What is done, such as `extracting`.
        total: Units of this process.
        rank: Its number.
        world_size: Number of processes.
        log: Takes the lines.
        unit: Of what is counted.
        done: Units that were done before.
    """

    def __init__(
        self,
        doing: str,
        total: int,
        rank: int = 0,
        world_size: int = 1,
        log: Callable[[str], Any] = to_stderr,
        unit: str = 'image',
        done: int = 0,
    ) -> None:
        self.total, self.log, self.unit, self.done, self.first = total, log, unit, done, done
        self.text = doing if world_size == 1 else f'{doing}, process 1 of {world_size}'
        self.shown = rank == 0
        self.bar: tqdm | None = None

    def __enter__(self) -> Progress:
        self.started = self.logged = time.perf_counter()
        if self.shown and sys.stderr.isatty():
            options: dict[str, Any] = dict(initial=self.done, unit=self.unit, dynamic_ncols=True, delay=SECONDS_WITHOUT)
            self.bar = tqdm(total=self.total, desc=self.text, **options)
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def advance(self, units: int = 1) -> None:
        """Advance the bar."""
        self.done += units
        if self.bar is not None:
            self.bar.update(units)
            return
        now = time.perf_counter()
        if self.shown and now - self.logged >= SECONDS_BETWEEN_LINES:
            self.logged, rate = now, (self.done - self.first) / (now - self.started)
            left = clock((self.total - self.done) / rate)
            plural = f'{self.unit}es' if self.unit.endswith('ch') else f'{self.unit}s'
            count = f'{self.done:,} of {self.total:,} {plural}'
            self.log(f'{self.text}: {count}, {rate:.3g} {plural}/s, time left {left}')

    def over(self, items: Iterable[T]) -> Iterator[T]:
        """The items, each counted once what comes after it is asked for."""
        for item in items:
            yield item
            self.advance()

    @classmethod
    def each(cls, items: Iterable[T], doing: str, total: int, unit: str = 'image', rank: int = 0) -> Iterator[T]:
        """`over`, for a loop that needs nothing else."""
        with cls(doing, total, rank, unit=unit) as progress:
            yield from progress.over(items)
