"""How far a pass over images is: a bar with time left on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

from fvq_core.training.hooks.progress_hook import clock

SECONDS_BETWEEN_LINES = 30


class ImageProgress:
    """Counts the images of one process; the first one shows them, and the others have about as many.

    Args:
        doing: What is done with them, such as `extracting`.
        total: Images of this process.
        rank: Its number.
        world_size: Number of processes.
        log: Takes the lines.
    """

    def __init__(self, doing: str, total: int, rank: int, world_size: int, log: Callable[[str], Any]) -> None:
        self.total, self.log, self.done = total, log, 0
        self.text = doing if world_size == 1 else f'{doing}, process 1 of {world_size}'
        self.shown = rank == 0
        self.bar: tqdm | None = None

    def __enter__(self) -> ImageProgress:
        self.started = self.logged = time.perf_counter()
        if self.shown and sys.stderr.isatty():
            self.bar = tqdm(total=self.total, desc=self.text, unit='image', dynamic_ncols=True)
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def advance(self, images: int) -> None:
        """Advance the bar."""
        self.done += images
        if self.bar is not None:
            self.bar.update(images)
            return
        now = time.perf_counter()
        if self.shown and now - self.logged >= SECONDS_BETWEEN_LINES:
            self.logged, rate = now, self.done / (now - self.started)
            left = clock((self.total - self.done) / rate)
            self.log(f'{self.text}: {self.done:,} of {self.total:,} images, {rate:.1f} images/s, time left {left}')
