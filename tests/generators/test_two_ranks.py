"""Two processes with half the batch each train like one with all of it, with copies of the weights or with parts."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch

from benchmarks import communication
from fvq_core.errors import UserError
from fvq_core.ops.identical import identical
from fvq_core.registry import MODELS

from ..ranks import TwoRanks
from .tiny import NO_DROPOUT, generator_config
from .two_ranks import CASES, OTHERS, local_numbers, train, train_on_rank, train_other

Ranks = Callable[[str], list[dict[str, Any]]]


@pytest.fixture(scope='module')
def ranks(two_ranks: TwoRanks) -> Ranks:
    """What each of two processes ends with in a case, rank 0's first; each case runs once."""
    return functools.cache(lambda name: two_ranks.run(train_on_rank, name))


@pytest.fixture(scope='module')
def one() -> dict[str, Any]:
    return train({}, 0, 1)


@pytest.mark.parametrize('name', CASES)
def test_two_ranks_equal_one_process_with_the_double_batch(name: str, ranks: Ranks, one: dict[str, Any]):
    both = ranks(name)
    for step, wanted in enumerate(one['log']):
        losses = torch.stack([rank['log'][step]['total'] for rank in both])
        torch.testing.assert_close(losses.mean(), wanted['total'], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(both[0]['log'][step]['norm'], wanted['norm'], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(both[0]['final'], one['final'], rtol=1e-4, atol=1e-5)
    other = both[1]['final']
    assert identical({key: both[0]['final'][key] for key in other}, other)


@pytest.mark.parametrize('name', CASES)
def test_the_validation_loss_is_that_of_one_process(name: str, ranks: Ranks, one: dict[str, Any]):
    first, second = (rank['validation'] for rank in ranks(name))
    assert first == second
    assert one['validation'][1] == first[1] == 5
    assert first[0] == pytest.approx(one['validation'][0], rel=1e-4)


@pytest.mark.parametrize('name', CASES)
def test_a_checkpoint_is_that_of_one_process_and_resumes_exactly(name: str, ranks: Ranks, one: dict[str, Any]):
    first = ranks(name)[0]
    saved = first['saved']
    for part in ('state_dict', 'ema_state_dict'):
        torch.testing.assert_close(saved[part], one['saved'][part], rtol=1e-4, atol=1e-5)
    assert not identical(saved['ema_state_dict'], saved['state_dict'])
    got, wanted = (s['optimizer']['generator'] for s in (saved, one['saved']))
    assert got['state'].keys() == wanted['state'].keys()
    for number, state in wanted['state'].items():
        torch.testing.assert_close(got['state'][number]['exp_avg'], state['exp_avg'], rtol=1e-3, atol=1e-6)
    assert identical(first['resumed'], first['final'])


@pytest.mark.parametrize('shard', [None, 'float32'])
@pytest.mark.parametrize('name', OTHERS)
def test_generators_that_bind_a_quantizer_or_take_orders_train_alike_on_two_ranks(
    name: str, shard: str | None, two_ranks: TwoRanks
):
    one, both = train(OTHERS[name], 0, 1), two_ranks.run(train_other, name, shard)
    torch.testing.assert_close(both[0]['final'], one['final'], rtol=1e-4, atol=1e-5)
    assert both[0]['validation'][0] == pytest.approx(one['validation'][0], rel=1e-4)
    assert identical(both[0]['resumed'], both[0]['final'])


def test_each_of_two_processes_keeps_half_of_the_weights(ranks: Ranks):
    total = local_numbers({})
    assert [rank['kept'] for rank in ranks('ddp')] == [total, total]
    one, other = (rank['kept'] for rank in ranks('sharded'))
    assert one + other == total
    assert abs(one - total / 2) < 0.02 * total


def test_an_unknown_type_of_shards_is_refused():
    with pytest.raises(UserError, match="unknown shard 'bfloat'; did you mean 'bfloat16'"):
        MODELS.build(dict(type='GeneratorTask', generator=generator_config(), shard='bfloat'))


def count_all(rank: int) -> dict[str, dict[str, Any]]:
    config = generator_config(**NO_DROPOUT)
    return {way: communication.count(rank, way, config) for way in communication.WAYS}


def test_a_step_sends_what_the_closed_form_says(two_ranks: TwoRanks) -> None:
    both = two_ranks.run(count_all)
    for found in both:
        for way, each in found.items():
            # DDP sends the sizes of its buckets too.
            assert 0 <= each['bytes_sent'] - each['closed_form'] < 256, way
        # Two ranks send half of what is gathered or scattered: two blocks, forward and backward, and the rest once.
        assert (found['DDP']['collectives']['all_reduce'], found['FSDP2, float32']['collectives']['all_gather']) == (
            1,
            5,
        )
        assert found['DDP']['closed_form'] == 4 * found['DDP']['parameters']
        assert found['DDP, bf16_compress']['closed_form'] == 2 * found['DDP']['parameters']
        assert all(each['parameters'] == found['DDP']['parameters'] for each in found.values())
