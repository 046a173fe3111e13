"""Codebook updates: EMA by hand, restarts, frozen codes, and one codebook on all ranks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fvq_core.errors import UserError
from fvq_quantizers.updates import EMAUpdate

from ..ranks import TwoRanks
from .matrix import VECTOR, D, K, build, latents, vectors


def ema(**options: Any) -> Any:
    """A quantizer in train mode whose codes are averages of latents."""
    quantizer = build(VECTOR, train=True, update=dict(type='EMAUpdate', **options))
    quantizer.update.sums_KD.copy_(quantizer.embedding)
    return quantizer


def update_on_rank(rank: int, quantizer: nn.Module, batches: list[list[Tensor]]) -> dict[str, Tensor]:
    """The state of a quantizer that took the batches of one of two processes."""
    torch.manual_seed(rank)
    for batch in batches[rank]:
        quantizer(batch)
    return quantizer.state_dict()


def test_two_ema_steps_equal_the_formula():
    decay, eps = 0.7, 1e-3
    quantizer = ema(decay=decay, eps=eps)
    counts, sums = torch.ones(K, dtype=torch.float64), quantizer.embedding.detach().double()
    for _ in range(2):
        z = latents(3)
        indices = torch.cdist(vectors(z), quantizer.embedding.detach()).argmin(1)
        assert torch.equal(quantizer(z).codes.indices_BL.flatten(), indices)
        for k in range(K):
            mine = vectors(z)[indices == k].double()
            counts[k] = decay * counts[k] + (1 - decay) * len(mine)
            sums[k] = decay * sums[k] + (1 - decay) * mine.sum(0)
        smoothed = counts.sum() * (counts + eps) / (counts.sum() + K * eps)
        torch.testing.assert_close(quantizer.embedding.double(), sums / smoothed[:, None], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(quantizer.update.counts_K.double(), counts)
    torch.testing.assert_close(quantizer.update.sums_KD.double(), sums, rtol=1e-5, atol=1e-5)


def test_codes_of_a_batch_are_those_before_its_own_update():
    quantizer = ema(decay=0.0)
    before, z = quantizer.embedding.detach().clone(), latents()
    output = quantizer(z)
    assert not torch.equal(quantizer.embedding, before)
    torch.testing.assert_close(vectors(output.z_q_BDHW.detach()), before[output.codes.indices_BL.flatten()])


@pytest.mark.parametrize('update', ['EMAUpdate', 'Frozen'])
def test_codebook_without_gradient_update_is_not_a_trained_parameter(update: str):
    quantizer = build(VECTOR, train=True, update=dict(type=update))
    assert [name for name, p in quantizer.named_parameters() if p.requires_grad] == []


def test_frozen_codes_never_move_and_eval_moves_none():
    frozen, averaged = build(VECTOR, train=True, update=dict(type='Frozen')), ema().eval()
    for quantizer in (frozen, averaged):
        before = {key: value.clone() for key, value in quantizer.state_dict().items()}
        quantizer(latents())
        assert all(torch.equal(value, before[key]) for key, value in quantizer.state_dict().items())


@pytest.mark.parametrize('positions', [3 * K, K, 5])
def test_restart_fills_every_unused_code_with_a_latent_also_from_a_small_batch(positions: int):
    quantizer = ema(decay=0.0, restart=True, eps=1e-12)
    with torch.no_grad():
        quantizer.embedding[1:] = 1000.0  # code 0 takes every latent
    z = latents(1, 1, positions)
    quantizer(z)
    codes = quantizer.embedding.detach()
    assert (quantizer.update.counts_K >= 1).all()
    torch.testing.assert_close(codes[0], vectors(z).mean(0), rtol=1e-4, atol=1e-4)
    distance = torch.cdist(codes[1:], vectors(z)).min(1).values
    assert distance.max() <= 0.01 + 1e-3
    if positions < K:
        assert len(codes.unique(dim=0)) == K, 'repeated latents must be told apart by noise'
    quantizer.eval()
    assert len(quantizer(z).codes.indices_BL.unique()) >= min(positions, K) // 2


def test_restart_leaves_used_codes_to_the_average():
    z, used = latents(4), ema(decay=0.0)
    restarted = ema(decay=0.0, restart=True)
    restarted.load_state_dict(used.state_dict())
    used(z), restarted(z)
    alive = used.update.counts_K >= 1
    assert 0 < alive.sum() < K or alive.all()
    torch.testing.assert_close(restarted.update.sums_KD[alive], used.update.sums_KD[alive])
    torch.testing.assert_close(restarted.update.counts_K[alive], used.update.counts_K[alive])


def test_two_ranks_hold_the_codebook_of_one_process_with_both_batches(two_ranks: TwoRanks):
    alone, restarting = ema(decay=0.5), ema(decay=0.5, restart=True)
    start = alone.embedding.detach().clone()
    batches = [[latents(2), latents(2)], [latents(2), latents(2)]]
    quantizers = {'plain': alone, 'restart': restarting}
    states = {name: two_ranks.run(update_on_rank, each, batches) for name, each in quantizers.items()}
    for one, other in states.values():
        assert all(torch.equal(one[key], other[key]) for key in one)
    assert (states['restart'][0]['update.counts_K'] >= 1).all(), 'no code was restarted'

    for pair in zip(*batches, strict=True):
        alone(torch.cat(pair))
    assert not torch.equal(alone.embedding, start)
    for key, value in alone.state_dict().items():
        torch.testing.assert_close(states['plain'][0][key], value, rtol=1e-4, atol=1e-5)


def test_impossible_decay_is_refused():
    for decay in (-0.1, 1.0):
        with pytest.raises(UserError, match=r'decay must lie in \[0, 1\)'):
            EMAUpdate(decay=decay)


def test_kmeans_start_restarts_the_averages_from_its_centres():
    quantizer = build(VECTOR, train=True, update=dict(type='EMAUpdate'), init=dict(type='KMeansInit'))
    quantizer.initialize(torch.randn(200, D))
    assert torch.equal(quantizer.update.sums_KD, quantizer.embedding.detach())
    assert (quantizer.update.counts_K == 1).all()


def test_kmeans_centres_stay_in_use_under_averages_that_count_the_start():
    z = torch.randn(8, D, 8, 8)
    used = {}
    for start_count in (0.0, 1.0):
        update = dict(type='EMAUpdate', start_count=start_count)
        quantizer = build(VECTOR, train=True, update=update, init=dict(type='KMeansInit'))
        quantizer.initialize(vectors(z))
        for _ in range(3):
            codes = quantizer(z).codes
        used[start_count] = len(codes.indices_BL.unique())
    assert used[1.0] == K
    assert used[0.0] < K // 2, 'the released start does no harm any more: say so in the docstring'
