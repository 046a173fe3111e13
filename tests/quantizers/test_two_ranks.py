"""Two processes end with one codebook, and with that of one process that saw both their batches."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
import torch

from ..ranks import TwoRanks
from .matrix import build, cases
from .two_ranks import collectives_on_rank, train, train_on_rank

CASES = cases()
# These draw at random: each rank its own numbers, or rank 0 for all.
DRAWING = {
    'GumbelQuantizer',
    'GumbelQuantizer, soft',
    'MultiScaleQuantizer, ema',
    'ProductQuantizer of Gumbel',
    'VectorQuantizer, cvq, drawn anchors',
    'VectorQuantizer, cvq, pooled anchors',
    'VectorQuantizer, dead codes',
    'VectorQuantizer, dead codes by usage',
    'VectorQuantizer, ema',
    'VectorQuantizer, reg-vq',
}
SAME_AS_ONE = [name for name in CASES if name not in DRAWING]

# Quantizers that sum more than once over ranks in a training forward pass, and why.
MORE_THAN_ONE_SUM = {
    'VectorQuantizer, cvq': 2,  # counts, and the rows of the chosen anchors
    'VectorQuantizer, cvq, drawn anchors': 2,
    'VectorQuantizer, titok': 2,
    'VectorQuantizer, alternating bridge': 2,  # one for each inner step, which moves what the next is computed from
    'ProductQuantizer, ema': 4,  # one for each codebook
    'ProductQuantizer of LFQ': 4,
    'ResidualQuantizer, an ema for each depth': 2,
    'ResidualQuantizer of LFQ': 3,  # one for the entropies of each depth or scale
    'ResidualQuantizer of BSQ': 2,
    'ResidualQuantizer of FSP': 2,
    'MultiScaleQuantizer of BSQ': 4,
    'MultiScaleQuantizer of LFQ': 4,
}

Ranks = Callable[[str], list[dict[str, torch.Tensor]]]


@pytest.fixture(scope='module')
def ranks(two_ranks: TwoRanks) -> Ranks:
    """The states that each of two processes ends with in a case, rank 0's first; each case runs once."""
    return functools.cache(lambda name: two_ranks.run(train_on_rank, name))


@pytest.mark.parametrize('name', CASES)
def test_ranks_hold_the_same_codebook_to_the_last_bit(name: str, ranks: Ranks):
    one, other = ranks(name)
    assert one.keys() == other.keys()
    assert [key for key in one if not torch.equal(one[key], other[key])] == []


@pytest.mark.parametrize('name', SAME_AS_ONE)
def test_two_ranks_equal_one_process_with_both_batches(name: str, ranks: Ranks):
    alone = train(CASES[name], 0, 1)
    torch.testing.assert_close(ranks(name)[0], alone, rtol=1e-3, atol=1e-5)


def test_training_moved_what_can_move(ranks: Ranks):
    """Else equal states would say nothing."""
    for name in CASES:
        torch.manual_seed(0)
        start = build(CASES[name], train=True).state_dict()
        if start:
            assert any(not torch.equal(value, start[key]) for key, value in ranks(name)[0].items()), name


def test_statistics_of_codes_cost_one_all_reduce_a_step(two_ranks: TwoRanks):
    one, other = two_ranks.run(collectives_on_rank)
    assert one == other  # else ranks would wait for one another
    sums = {name: kinds.count('all_reduce') for name, kinds in one.items()}
    assert {name: number for name, number in sums.items() if number > 1} == MORE_THAN_ONE_SUM
    assert sums['VectorQuantizer, ema'] == sums['VectorQuantizer, reg-vq'] == sums['LFQ'] == 1
    assert one['VectorQuantizer'] == one['FSQ'] == []
