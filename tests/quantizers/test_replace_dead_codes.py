"""Dead codes: when they count as dead, what replaces them, and that training goes on."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fvq_core.errors import UserError
from fvq_quantizers.updates import ReplaceDeadCodes

from .matrix import VECTOR, K, build, latents, vectors

EXACT = 'donot_use_mm_for_euclid_dist'


def replacing(**options: Any) -> Any:
    """A quantizer in train mode in which code 0 takes every latent."""
    quantizer = build(VECTOR, train=True, update=dict(type='ReplaceDeadCodes', **options))
    with torch.no_grad():
        quantizer.embedding[1:] = 1000.0
    return quantizer


def test_code_is_replaced_after_as_many_idle_steps_as_patience_says():
    quantizer = replacing(patience=3)
    for step in (1, 2, 3):
        assert (quantizer.embedding[1:] == 1000).all()
        z = latents(4)
        quantizer(z)
        assert torch.equal(quantizer.update.idle_K[1:], torch.full((K - 1,), step % 3))
    assert torch.cdist(quantizer.embedding[1:], vectors(z)).min(1).values.max() < 1e-3
    assert len(quantizer.embedding.unique(dim=0)) == K
    assert quantizer.update.idle_K[0] == 0


@pytest.mark.parametrize('scale', [1.0, 0.01])
def test_dead_codes_of_a_batch_smaller_than_the_codebook_get_a_latent_each_as_it_is(scale: float):
    quantizer = build(dict(VECTOR, codebook_size=50), train=True, update=dict(type='ReplaceDeadCodes', patience=1))
    with torch.no_grad():
        quantizer.embedding[30:] = 1000.0
        quantizer.embedding[:30] *= scale
    z = scale * latents(1, 6, 8)
    before, used = quantizer.embedding.detach().clone(), quantizer(z).codes.indices_BL.unique()
    dead = torch.ones(50, dtype=torch.bool).index_fill(0, used, False)
    assert 0 < dead.sum() <= 48 < 50
    distance, latent = torch.cdist(quantizer.embedding[dead], vectors(z), compute_mode=EXACT).min(1)
    assert distance.max() == 0
    assert len(latent.unique()) == dead.sum()
    assert torch.equal(quantizer.embedding[used], before[used])


def test_more_dead_codes_than_latents_share_them():
    quantizer = replacing(patience=1)
    z = latents(1, 1, 3)
    quantizer(z)
    distance, latent = torch.cdist(quantizer.embedding[1:], vectors(z), compute_mode=EXACT).min(1)
    assert latent.unique(return_counts=True)[1].tolist() == [5, 5, 5]
    assert (distance == 0).sum() == 3
    assert 0 < distance.max() < 0.1 * vectors(z).norm(dim=1).max()
    assert len(quantizer.embedding.unique(dim=0)) == K


def test_used_codes_are_left_to_the_optimizer():
    quantizer = build(VECTOR, train=True, update=dict(type='ReplaceDeadCodes', patience=1))
    before, z = quantizer.embedding.detach().clone(), latents(1)
    output = quantizer(z)
    used = output.codes.indices_BL.unique()
    assert len(used) < K
    assert torch.equal(quantizer.embedding[used], before[used])
    sum(output.losses.values()).backward()
    unused = [k for k in range(K) if k not in used]
    assert quantizer.embedding.grad[used].abs().sum(1).min() > 0
    assert not quantizer.embedding.grad[unused].any(), 'a new code has the gradient of no latent'


def test_code_is_replaced_when_its_average_use_falls_below_the_threshold():
    decay, threshold = 0.5, 4.0
    quantizer, average = replacing(threshold=threshold, decay=decay), 2 * threshold
    for _ in range(2):
        assert (quantizer.embedding[1:] == 1000).all()
        quantizer(latents(1))
        average = decay * average
    assert average < threshold
    assert (quantizer.embedding[1:] < 1000).all()
    torch.testing.assert_close(quantizer.update.usage_K[1:], torch.full((K - 1,), 2 * threshold))
    assert quantizer.update.usage_K[0] == 0.25 * 2 * threshold + 0.75 * 24


@pytest.mark.parametrize('positions', [3 * K, K])
def test_replacements_are_different_latents_where_there_are_enough(positions: int):
    quantizer, z = replacing(patience=1), latents(1, 1, positions)
    quantizer(z)
    assert len(quantizer.embedding.unique(dim=0)) == K
    assert torch.cdist(quantizer.embedding[1:], vectors(z), compute_mode=EXACT).min(1).values.max() == 0


def test_noise_is_relative_to_the_latent():
    quantizer, z = replacing(patience=1, noise=0.1), latents(8)
    quantizer(100 * z)
    away = torch.cdist(quantizer.embedding[1:], 100 * vectors(z)).min(1).values
    assert 0.02 < (away / quantizer.embedding[1:].norm(dim=1)).median() < 0.5


def test_impossible_options_are_refused():
    for wrong, message in (
        (dict(patience=3, threshold=1.0), 'expected patience or threshold'),
        (dict(patience=0), 'patience must be 1 or more'),
        (dict(threshold=0.0), 'threshold above 0'),
        (dict(decay=1.0), r'decay must lie in \[0, 1\)'),
        (dict(noise=-1.0), 'noise be 0 or more'),
    ):
        with pytest.raises(UserError, match=message):
            ReplaceDeadCodes(**wrong)
    assert ReplaceDeadCodes().patience == 100
    with pytest.raises(UserError, match=r'ReplaceDeadCodes writes latents.*must be the identity, got VQBridge'):
        build(VECTOR, update=dict(type='ReplaceDeadCodes'), projector=dict(type='VQBridge'))
