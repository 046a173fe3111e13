"""The data order: a permutation each epoch, the same whatever the start and the number of ranks."""

from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fvq_core.data import seekable_sampler
from fvq_core.data.seekable_sampler import SeekableSampler


def take(size: int, count: int, start: int = 0, seed: int = 0, shuffle: bool = True) -> list[tuple[int, int]]:
    sampler = SeekableSampler(range(size), seed=seed, shuffle=shuffle)
    sampler.start = start
    return list(islice(sampler, count))


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 12), st.integers(0, 60), st.integers(0, 5))
def test_starting_anywhere_equals_skipping(size: int, start: int, seed: int):
    assert take(size, 20, start=start, seed=seed) == take(size, start + 20, seed=seed)[start:]


def test_each_epoch_is_a_permutation_and_they_differ():
    order = [index for index, _ in take(50, 150)]
    epochs = [order[k : k + 50] for k in (0, 50, 100)]
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_positions_count_up_across_epochs():
    assert [position for _, position in take(7, 30, start=3)] == list(range(3, 33))


@pytest.mark.parametrize('world_size', [2, 3])
def test_ranks_interleave_to_the_order_of_one_rank(monkeypatch: pytest.MonkeyPatch, world_size: int):
    whole = take(10, 12 * world_size, start=4)
    for rank in range(world_size):
        monkeypatch.setattr(seekable_sampler, 'get_dist_info', lambda rank=rank: (rank, world_size))
        assert take(10, 12, start=4) == whole[rank::world_size]


def test_seed_changes_the_order_and_nothing_else_does():
    assert take(20, 40, seed=3) == take(20, 40, seed=3)
    assert take(20, 40, seed=3) != take(20, 40, seed=4)


def test_without_shuffling_the_order_is_the_datasets():
    assert [index for index, _ in take(3, 7, shuffle=False)] == [0, 1, 2, 0, 1, 2, 0]
