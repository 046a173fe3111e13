"""Two processes with half the batch each train like one with all of it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch

from fvq_core.ops.collectives import Collective
from fvq_core.ops.identical import identical

from ..ranks import TwoRanks
from .two_ranks import CASES, STEPS, evaluate_on_rank, train, train_on_rank, warnings_of_ddp

EXACT = [name for name in CASES if name != 'batch_norm']  # BatchNorm sees half a batch on each rank


@pytest.fixture(scope='module')
def ranks(two_ranks: TwoRanks) -> Callable[[str], list[dict[str, Any]]]:
    """What each of two processes ends with in a case, rank 0's first; each case runs once."""
    return functools.cache(lambda name: two_ranks.run(train_on_rank, name))


def all_reduced(calls: list[Collective]) -> list[int]:
    """Bytes of each all-reduce. DDP also broadcasts its plan, once."""
    return [call.bytes for call in calls if call.kind == 'all_reduce']


@pytest.mark.parametrize('name', EXACT)
def test_two_ranks_equal_one_process_with_the_double_batch(name: str, ranks: Callable[[str], Any]) -> None:
    one, both = train(CASES[name], 0, 1), ranks(name)
    for step in range(STEPS):
        for term, value in one['losses'][step].items():
            mean = torch.stack([rank['losses'][step][term] for rank in both]).mean()
            torch.testing.assert_close(mean, value, rtol=1e-4, atol=1e-6, msg=lambda m, t=term: f'{t}: {m}')
    torch.testing.assert_close(both[0]['norms'], one['norms'], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(both[0]['state'], one['state'], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('name', CASES)
def test_ranks_stay_in_sync_to_the_last_bit(name: str, ranks: Callable[[str], Any]) -> None:
    one, other = ranks(name)
    assert identical(one['state'], other['state'])


def test_evaluation_goes_by_what_all_ranks_have_read(two_ranks: TwoRanks) -> None:
    found = two_ranks.run(evaluate_on_rank)
    together = 'too many together'  # each rank names a file of its own
    assert {**found[0], together: ''} == {**found[1], together: ''}
    assert found[0]['one image'] == '1 images'
    assert found[0]['one rank reads nothing'] == '4 images'
    assert found[0][together].startswith('2 of 8 images cannot be read, more than max_unreadable=0.2 allows')
    assert found[0]['no image'] == 'the evaluation set has no readable image.'
    assert found[0]['an error of one rank'] == 'images differ in size'


@pytest.mark.parametrize('name', ['bridge', 'checkpointing', 'late discriminator', 'gan'])
def test_a_static_graph_holds_with_micro_batches_checkpointing_and_a_late_discriminator(
    name: str, ranks: Callable[[str], Any], two_ranks: TwoRanks
) -> None:
    static = two_ranks.run(train_on_rank, name, dict(static_graph=True))
    assert identical(static[0]['state'], ranks(name)[0]['state'])
    assert static[0]['collectives'] == ranks(name)[0]['collectives']


def test_gradients_go_in_the_same_buckets_in_every_step(two_ranks: TwoRanks) -> None:
    """Else a resumed run on more than two ranks would round its first step differently."""
    first, second = map(all_reduced, two_ranks.run(train_on_rank, 'bridge', dict(bucket_mb=0.01))[0]['collectives'])
    assert first == second
    assert len(first) > 3


def test_compressed_gradients_are_half_the_bytes_and_near_the_others(
    ranks: Callable[[str], Any], two_ranks: TwoRanks
) -> None:
    one, other = two_ranks.run(train_on_rank, 'bridge', dict(bf16_compress=True))
    plain = ranks('bridge')[0]
    assert identical(one['state'], other['state'])
    (compressed,), (whole,) = (all_reduced(each['collectives'][1]) for each in (one, plain))
    assert 2 * compressed == whole == 4 * plain['parameters']
    assert not identical(one['state'], plain['state'])
    torch.testing.assert_close(one['norms'], plain['norms'], rtol=2**-7, atol=0.0)  # bfloat16 has 8 bits of mantissa


def test_ddp_takes_the_gradients_of_channels_last_weights_as_they_come(two_ranks: TwoRanks) -> None:
    assert two_ranks.run(warnings_of_ddp) == [[], []]
