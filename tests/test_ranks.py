"""The pair of ranks itself: a case that fails, dies or hangs is reported, and costs no other."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist

from .ranks import RankError, TwoRanks

pytestmark = pytest.mark.processes


@pytest.fixture(scope='module')
def pair() -> Iterator[TwoRanks]:
    pair = TwoRanks()
    yield pair
    pair.close()


def gather(rank: int, tensor: torch.Tensor) -> dict[str, Any]:
    drawn, numbers = torch.rand(3), [torch.zeros(2) for _ in range(2)]
    dist.all_gather(numbers, tensor + rank)
    return {'numbers': torch.cat(numbers), 'drawn': drawn, 'process': os.getpid()}


def fail_on_rank_1(rank: int) -> None:
    if rank:
        raise ValueError('of rank 1')
    dist.barrier()


def die_on_rank_0(rank: int) -> None:
    if rank == 0:
        os._exit(3)


def hang(rank: int) -> None:
    time.sleep(60)


def leave_the_group(rank: int) -> bool:
    dist.destroy_process_group()
    return dist.is_initialized()


def test_both_answer_seeded_alike_and_stay(pair: TwoRanks) -> None:
    first, second = (pair.run(gather, torch.zeros(2)) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one['numbers'], torch.tensor([0.0, 0.0, 1.0, 1.0]))
        assert torch.equal(one['drawn'], first[0]['drawn'])
        assert torch.equal(other['drawn'], first[0]['drawn'])
        assert one['process'] == other['process']
    assert first[0]['process'] != first[1]['process']


@pytest.mark.parametrize(
    ('function', 'message'),
    [
        (fail_on_rank_1, r'rank 1: Traceback(.|\n)*ValueError: of rank 1'),
        (die_on_rank_0, 'rank 0: the process ended with exit code 3'),
        (hang, 'rank 0: no answer in time\nrank 1: no answer in time'),
    ],
)
def test_a_failure_is_reported_and_the_next_case_runs(pair: TwoRanks, function: Any, message: str) -> None:
    start = time.monotonic()
    with pytest.raises(RankError, match=message):
        pair.run(function, timeout=1.0 if function is hang else 60.0)
    assert time.monotonic() - start < 50
    assert pair.run(gather, torch.ones(2))[1]['numbers'].tolist() == [1.0, 1.0, 2.0, 2.0]


def test_a_case_may_leave_the_group(pair: TwoRanks) -> None:
    assert pair.run(leave_the_group) == [False, False]
    assert pair.run(gather, torch.zeros(2))[0]['numbers'].sum() == 2


def test_closing_ends_the_processes(pair: TwoRanks) -> None:
    pair.run(gather, torch.zeros(2))
    processes = list(pair.processes)
    pair.close()
    assert all(process.exitcode is not None for process in processes)


def test_ranks_that_could_not_be_connected_are_tried_again(pair: TwoRanks, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, attempts = pair.call, []

    def broken_at_first(*arguments: Any) -> Any:
        attempts.append(arguments)
        return (
            whole(*arguments)
            if len(attempts) > 1
            else ({}, {0: 'tests.ranks.JoinError: closed', 1: 'no answer in time'})
        )

    monkeypatch.setattr(pair, 'call', broken_at_first)
    assert len(pair.run(gather, torch.zeros(2))) == len(attempts) == 2
