"""CVQ: the formula by hand, where anchors come from, whose gradient the codes get."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from fvq_core.errors import UserError
from fvq_quantizers.distances import DotProduct, SquaredL2
from fvq_quantizers.updates import CVQUpdate, latent_sampling
from fvq_quantizers.updates.latent_sampling import best_latents

from .matrix import VECTOR, D, K, build, latents, vectors


def cvq(options: dict[str, Any] | None = None, **axes: Any) -> Any:
    """A quantizer in train mode whose codes move to anchors."""
    return build(VECTOR, train=True, update=dict(type='CVQUpdate', **(options or {})), **axes)


def test_codes_move_to_their_closest_latents_by_their_usage():
    quantizer, decay = cvq(dict(decay=0.9)), 0.9
    usage = torch.zeros(K, dtype=torch.float64)
    codes = quantizer.embedding.detach().double()
    for _ in range(3):
        z = latents(1, 1, 6)
        distance = torch.cdist(vectors(z).double(), codes)
        chosen = distance.argmin(1)
        assert torch.equal(quantizer(z).codes.indices_BL.flatten(), chosen)
        usage = decay * usage + (1 - decay) * torch.bincount(chosen, minlength=K) / len(chosen)
        alpha = torch.exp(-10 * K * usage / (1 - decay) - 1e-3)[:, None]
        codes = (1 - alpha) * codes + alpha * vectors(z).double()[distance.argmin(0)]
        torch.testing.assert_close(quantizer.embedding.double(), codes, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(quantizer.update.usage_K.double(), usage)
    assert 0 < (alpha < 0.5).sum() < K


def test_closest_is_what_the_search_compares():
    quantizer, z = cvq(normalize=dict(type='CosineSearch'), distance=dict(type='DotProduct')), latents(1, 1, 9)
    before = quantizer.embedding.detach().clone()
    used = quantizer(z).codes.indices_BL.unique()
    unused = [k for k in range(K) if k not in used]
    anchors = vectors(z)[F.cosine_similarity(before[:, None], vectors(z)[None], dim=-1).argmax(1)]
    alpha = math.exp(-1e-3)
    assert unused
    torch.testing.assert_close(quantizer.embedding[unused], (1 - alpha) * before[unused] + alpha * anchors[unused])


@pytest.mark.parametrize('raw', [False, True])
def test_anchors_under_normalisation_are_unit_vectors_unless_raw_ones_are_wanted(raw: bool):
    quantizer, z = cvq(dict(raw_anchors=raw), normalize=dict(type='L2Normalize')), 5 * latents(1, 1, 9)
    used = quantizer(z).codes.indices_BL.unique()
    unused = [k for k in range(K) if k not in used]
    wanted = vectors(z) if raw else F.normalize(vectors(z), dim=1)
    alpha = math.exp(-1e-3)
    assert torch.cdist(quantizer.embedding[unused] / alpha, wanted).min(1).values.max() < 0.02
    assert torch.cdist(quantizer.codebook()[unused], F.normalize(vectors(z), dim=1)).min(1).values.max() < 0.02


@pytest.mark.parametrize('anchor', ['closest', 'random', 'probrandom'])
def test_every_unused_code_becomes_a_latent_of_the_batch(anchor: str):
    quantizer, z = cvq(dict(anchor=anchor)), latents(4)
    with torch.no_grad():
        quantizer.embedding[1:] = 1000.0  # code 0 takes every latent
    quantizer(z)
    rest = quantizer.embedding[1:] - (1 - math.exp(-1e-3)) * 1000.0
    assert torch.cdist(rest / math.exp(-1e-3), vectors(z)).min(1).values.max() < 5e-3


def test_drawn_anchors_follow_the_softmax_over_latents():
    code, z = torch.zeros(1, 2), torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.5]])
    drawn = torch.stack([best_latents(code, z, z, SquaredL2(), sample=True)[0] for _ in range(4000)])
    shares = torch.stack([(drawn == row).all(1).float().mean() for row in z])
    expected = (-z.square().sum(1)).softmax(0)
    torch.testing.assert_close(shares, expected, rtol=0, atol=4 * 0.5 / 4000**0.5)


@pytest.mark.parametrize('distance', [DotProduct(), SquaredL2()])
def test_best_latents_do_not_depend_on_chunks(distance: Any, monkeypatch: pytest.MonkeyPatch):
    codes, z = torch.randn(13, 3), torch.randn(7, 3)
    whole = best_latents(codes, z, z, distance)
    monkeypatch.setattr(latent_sampling, 'MAX_SCORES', 14)
    assert torch.equal(best_latents(codes, z, z, distance), whole)


def test_pool_of_small_batches_fills_up_and_is_then_renewed_in_part():
    update = cvq(dict(anchor='random')).update
    batches = [torch.full((6, D), float(step)) for step in range(1, 5)]
    for number, batch in enumerate(batches, 1):
        update._fill_pool(batch)
        rows = [int((update.pool_KD == step).all(1).sum()) for step in range(1, 5)]
        assert sum(rows) == min(6 * number, K)
    assert rows[3] == 6
    assert update.pooled == K
    update._fill_pool(torch.full((K + 1, D), 9.0))
    assert (update.pool_KD == 9.0).all()


def test_offline_variant_moves_codes_only_after_the_first_batch_also_after_a_restart():
    quantizer = cvq(dict(first_batch=True))
    before = quantizer.embedding.detach().clone()
    quantizer(latents())
    first = quantizer.embedding.detach().clone()
    assert not torch.equal(first, before)
    resumed = cvq(dict(first_batch=True))
    resumed.load_state_dict(quantizer.state_dict())
    for each in (quantizer, resumed):
        usage = each.update.usage_K.clone()
        each(latents())
        assert torch.equal(each.embedding, first)
        assert not torch.equal(each.update.usage_K, usage), 'usage is counted on'


@pytest.mark.parametrize('contrastive', [False, True])
def test_gradients_are_those_of_the_codes_that_were_used(contrastive: bool):
    axes: dict[str, Any] = dict(normalize=dict(type='CosineSearch'), distance=dict(type='DotProduct'))
    if contrastive:
        axes['regularizer'] = dict(type='ContrastiveRegularizer')
    moving, still = cvq(**axes), build(VECTOR, train=True, **axes)
    with torch.no_grad():
        still.embedding.copy_(moving.embedding)
    parameter, z = moving.embedding, latents()
    for quantizer in (moving, still):
        sum(quantizer(z).losses.values()).backward()
    assert not torch.equal(moving.embedding, still.embedding)
    torch.testing.assert_close(moving.embedding.grad, still.embedding.grad)
    assert moving.embedding is parameter, 'an optimizer holds this parameter'


def test_legacy_gradient_of_the_contrastive_loss_mixes_old_and_new_codes():
    axes: dict[str, Any] = dict(normalize=dict(type='CosineSearch'), distance=dict(type='DotProduct'))
    axes['regularizer'], z = dict(type='ContrastiveRegularizer'), latents()
    right, legacy = cvq(**axes), cvq(dict(legacy=True), **axes)
    legacy.load_state_dict(right.state_dict())
    parameter = legacy.embedding
    old = right.embedding.detach().clone()
    for quantizer in (right, legacy):
        quantizer(z).losses['contrastive'].backward()
    assert torch.equal(right.embedding, legacy.embedding)
    assert legacy.embedding is parameter

    directions = F.normalize(old, dim=1).requires_grad_()
    right.regularizer(F.normalize(vectors(z), dim=1), directions, right.distance)['contrastive'].backward()
    inward, norm, new = directions.grad, old.norm(dim=1, keepdim=True), right.embedding.detach()
    for quantizer, codes in ((right, old), (legacy, new)):
        expected = inward / norm - codes * (inward * codes).sum(1, keepdim=True) / norm**3
        torch.testing.assert_close(quantizer.embedding.grad, expected, rtol=1e-4, atol=1e-7)


def test_impossible_options_are_refused():
    with pytest.raises(UserError, match=r'decay must lie in \[0, 1\)'):
        CVQUpdate(decay=1.0)
    with pytest.raises(UserError, match="anchor must be 'closest', 'random' or 'probrandom', got 'nearest'"):
        CVQUpdate(anchor='nearest')
    with pytest.raises(UserError, match=r'CVQUpdate writes latents.*must be the identity, got LinearProjector'):
        cvq(projector=dict(type='LinearProjector'))
