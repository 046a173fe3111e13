"""Moments at which benchmarks/kill_resume.py kills: in every part of a run, however fast the machine is by then."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

from benchmarks.kill_moments import Moment, draw_moment, step_seconds

pytestmark = pytest.mark.fast


def a_run(*steps: float, length: float) -> tuple[Callable[[], int], Callable[[], bool]]:
    """A run that now begins, finishes a step at each of the given seconds, and ends."""
    began = time.perf_counter()

    def seconds() -> float:
        return time.perf_counter() - began

    return lambda: sum(seconds() >= step for step in steps), lambda: seconds() >= length


@pytest.mark.parametrize('kills', [10, 26])
def test_every_part_of_a_run_is_hit(kills: int) -> None:
    """Also when the start takes ten times as long as all steps together."""
    seconds = [12.0, *[0.1] * 12]
    moments = [draw_moment(number, kills, seconds, random.Random(number)) for number in range(kills)]
    # Ten kills are in ten different stretches of 1.3 steps, and 26 in all halves of steps.
    assert [int((each.step + each.seconds / seconds[each.step]) * kills / 13) for each in moments] == list(range(kills))


def test_moments_follow_the_seed() -> None:
    first, again, other = (
        [draw_moment(n, 5, [2.0, 1.0, 1.0], rng) for n in range(5)]
        for rng in (random.Random(3), random.Random(3), random.Random(4))
    )
    assert first == again != other


def test_steps_are_timed_also_those_that_come_together() -> None:
    finished, ended = a_run(0.2, 0.3, 0.3, length=0.5)
    found = step_seconds(finished, ended)
    assert len(found) == 4
    assert found[2] == 0
    assert sum(found[:3]) >= 0.3
    assert sum(found) >= 0.5
    assert found[0] >= 0.2


def test_a_moment_waits_for_its_step_and_not_for_the_clock() -> None:
    finished, ended = a_run(0.05, 0.3, length=10.0)
    assert Moment(2, 0.02).wait(finished, ended)
    assert finished() == 2


def test_a_moment_that_does_not_come_is_told() -> None:
    assert not Moment(2, 0.0).wait(*a_run(0.05, length=0.1))
    assert not Moment(1, 0.2).wait(*a_run(0.05, length=0.1))
