"""Random moments at which to kill a run, spread over all that it does.

A run is seen as steps: those that it has finished (checkpoints, files) are counted on the disk. A moment lies so many
seconds after a step, so it hits what it is meant for, also on a machine that is now slower or faster than it was.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

POLL_S = 0.005


@dataclass(frozen=True)
class Moment:
    """A moment of a run.

    Args:
        step: How many steps are finished by then, 0 while it starts.
        seconds: How long ago the last of them was.
    """

    step: int
    seconds: float

    def wait(self, finished: Callable[[], int], ended: Callable[[], bool]) -> bool:
        """Sleep until it has come; False if the run ends before.

        Args:
            finished: How many steps the run has finished.
            ended: Whether the run has ended.
        """
        while finished() < self.step:
            if ended():
                return False
            time.sleep(POLL_S)
        time.sleep(self.seconds)
        return not ended()


def step_seconds(finished: Callable[[], int], ended: Callable[[], bool]) -> list[float]:
    """Watch a run that nobody disturbs: the seconds to its first step, from each to the next, and from the last to the end."""
    began = [time.perf_counter()]
    while not ended():
        passed = finished() + 1 - len(began)
        began += [time.perf_counter()] * passed
        time.sleep(POLL_S)
    began += [time.perf_counter()] * (finished() + 2 - len(began))
    return [after - before for before, after in pairwise(began)]


def draw_moment(number: int, count: int, seconds: Sequence[float], rng: random.Random) -> Moment:
    """A moment in the given one of `count` equal parts of a run; every step is as long as every other.

    Args:
        number: Which part, from 0.
        count: Number of parts.
        seconds: What `step_seconds` found.
        rng: For the moment within the part.
    """
    step, share = divmod((number + rng.random()) / count * len(seconds), 1.0)
    return Moment(int(step), share * seconds[int(step)])
