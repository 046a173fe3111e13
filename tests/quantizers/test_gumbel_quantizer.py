"""Gumbel-softmax vector quantization: draws, gradients, divergence, temperature."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from fvq_core.errors import UserError
from fvq_core.registry import QUANTIZERS
from fvq_quantizers import GumbelQuantizer, chunked_softmax

from .matrix import D, K, latents, vectors


def gumbel(train: bool = False, **options: Any) -> GumbelQuantizer:
    return QUANTIZERS.build(dict(type='GumbelQuantizer', codebook_size=K, code_dim=D, **options)).train(train)


@torch.no_grad()
def test_evaluation_takes_the_largest_logit_not_the_nearest_code():
    quantizer, z = gumbel(), latents()
    best_N = quantizer.to_logits(vectors(z)).argmax(1)
    assert torch.equal(quantizer(z).codes.indices_BL.flatten(), best_N)
    assert not torch.equal(best_N, torch.cdist(vectors(z), quantizer.codebook()).argmin(1))


@torch.no_grad()
def test_codes_are_drawn_as_often_as_the_softmax_says():
    quantizer = gumbel(train=True)
    with torch.no_grad():
        quantizer.to_logits.weight.zero_()
        quantizer.to_logits.bias.copy_(torch.randn(K))
    drawn = quantizer(latents(50, 20, 20)).codes.indices_BL.flatten()
    frequency = torch.bincount(drawn, minlength=K) / len(drawn)
    torch.testing.assert_close(frequency, quantizer.to_logits.bias.softmax(0), rtol=0, atol=0.01)


@pytest.mark.parametrize('straight_through', [True, False])
@pytest.mark.parametrize('max_scores', [2**23, 1], ids=['whole', 'rows'])
def test_value_and_gradients_are_those_of_the_textbook(
    straight_through: bool, max_scores: int, monkeypatch: pytest.MonkeyPatch
):
    """One latent, so that the draws of the textbook's one call and of ours are the same numbers."""
    monkeypatch.setattr(chunked_softmax, 'MAX_SCORES', max_scores)
    quantizer = gumbel(True, straight_through=straight_through, temperature=0.7, kl_weight=0.0)
    one, other = (torch.ones(1, D, 1, 1).requires_grad_() for _ in range(2))
    gradient = torch.randn(1, D)
    parameters = [quantizer.embedding, *quantizer.to_logits.parameters()]
    torch.manual_seed(1)
    got = vectors(quantizer(one).z_q_BDHW)
    gradients = torch.autograd.grad(got, [one, *parameters], gradient)
    torch.manual_seed(1)
    choice_NK = F.gumbel_softmax(quantizer.to_logits(vectors(other)), tau=0.7, hard=straight_through)
    expected = choice_NK @ quantizer.embedding
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(gradients, torch.autograd.grad(expected, [other, *parameters], gradient))


def test_divergence_is_zero_for_uniform_logits_and_log_k_for_sure_ones():
    quantizer, z = gumbel(True, kl_weight=2.0), latents()
    with torch.no_grad():
        quantizer.to_logits.weight.zero_()
        quantizer.to_logits.bias.zero_()
    assert quantizer(z).losses['kl'].item() == pytest.approx(0.0, abs=1e-6)
    with torch.no_grad():
        quantizer.to_logits.bias[3] = 1000.0
    assert quantizer(z).losses['kl'].item() == pytest.approx(2.0 * math.log(K))
    assert not gumbel(True, kl_weight=0.0)(z).losses


def test_temperature_falls_along_a_cosine_with_the_training_forwards_and_then_stays():
    quantizer = gumbel(True, temperature=1.0, final_temperature=0.2, temperature_steps=4)
    seen = []
    for _ in range(6):
        seen.append(quantizer.temperature.item())
        quantizer(latents())
    assert seen == pytest.approx([0.2 + 0.4 * (1 + math.cos(math.pi * min(t / 4, 1.0))) for t in range(6)])
    quantizer.eval()(latents())
    assert quantizer.steps == 6
    assert gumbel(temperature=0.5).temperature == 0.5


def test_smaller_temperature_gives_a_surer_mixture():
    distances = []
    for temperature in (10.0, 1.0, 0.01):
        quantizer = gumbel(True, straight_through=False, temperature=temperature)
        torch.manual_seed(3)
        torch.nn.init.normal_(quantizer.embedding)
        output = quantizer(latents())
        chosen = F.embedding(output.codes.indices_BL.flatten(), quantizer.codebook())
        distances.append((vectors(output.z_q_BDHW) - chosen).norm().item())
    assert distances == sorted(distances, reverse=True)
    assert distances[2] < 0.05 * distances[0]


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(code_dim=0), 'must be 1 or more, got 16 and 0'),
        (dict(final_temperature=0.1), 'a schedule needs'),
        (dict(temperature_steps=10), 'a schedule needs'),
        (dict(temperature=0.0), 'temperatures must be above 0'),
        (dict(kl_weight=-1.0), 'kl_weight 0 or more'),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str):
    with pytest.raises(UserError, match=message):
        QUANTIZERS.build({**dict(type='GumbelQuantizer', codebook_size=K, code_dim=D), **options})
