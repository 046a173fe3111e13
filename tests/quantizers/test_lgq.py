"""LGQ: the soft choice's gradient, its regularizers, the schedule, the start from latents, bad input."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from fvq_core.errors import UserError
from fvq_core.registry import QUANTIZERS
from fvq_quantizers import chunked_softmax
from fvq_quantizers.lgq import LGQ

from .matrix import D, K, latents, vectors


def lgq(**options: Any) -> LGQ:
    return QUANTIZERS.build(
        dict(type='LGQ', **{'codebook_size': K, 'code_dim': D, 'from_latents': False, **options})
    ).train()


@pytest.mark.parametrize('rows', [7, 1000])
def test_value_is_the_nearest_code_and_gradient_that_of_the_soft_choice(rows: int, monkeypatch: pytest.MonkeyPatch):
    """By the released formulas: squared distances, p, the mixture for the gradient, the nearest code for the value."""
    monkeypatch.setattr(chunked_softmax, 'MAX_SCORES', rows * K)
    z, quantizer = latents().requires_grad_(), lgq(temperature=4.0, peak_weight=0.3, usage_weight=0.2)
    output = quantizer(z)
    rows_ND, codes_KD = vectors(z), quantizer.embedding
    apart_NK = torch.cdist(rows_ND, codes_KD).square()
    p_NK = (-apart_NK / 4.0).softmax(1)
    soft_ND = p_NK @ codes_KD
    expected_ND = soft_ND + (codes_KD[apart_NK.argmin(1)] - soft_ND).detach()
    losses = {
        'quantization': F.mse_loss(expected_ND, rows_ND),
        'peak': 0.3 * (1 - p_NK.square().sum(1)).mean(),
        'usage': 0.2 * K * p_NK.mean(0).square().sum(),
    }
    torch.testing.assert_close(vectors(output.z_q_BDHW), expected_ND)
    torch.testing.assert_close(output.losses, losses)
    weight_ND, inputs = torch.randn_like(rows_ND), (z, quantizer.embedding)
    got = torch.autograd.grad((vectors(output.z_q_BDHW) * weight_ND).sum() + sum(output.losses.values()), inputs)
    wanted = torch.autograd.grad((expected_ND * weight_ND).sum() + sum(losses.values()), inputs)
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_terms_of_weight_zero_are_left_out():
    assert list(lgq(peak_weight=0.0, usage_weight=0.0)(latents()).losses) == ['quantization']


def test_even_use_of_codes_is_the_least_usage_term():
    quantizer = lgq(temperature=1e-3, usage_weight=0.5, codebook_size=4)
    z = quantizer.codebook().detach().t().reshape(1, D, 2, 2)  # each code once
    assert quantizer(z).losses['usage'].item() == pytest.approx(0.5)
    assert quantizer(z[..., :1, :1]).losses['usage'].item() == pytest.approx(2.0)


def test_temperature_falls_linearly_over_training_and_is_saved():
    quantizer, seen = lgq(final_temperature=0.2, temperature_steps=4), []
    for _ in range(6):
        seen.append(quantizer.temperature.item())
        quantizer(latents())
    assert seen == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2, 0.2])
    other = lgq(final_temperature=0.2, temperature_steps=4)
    other.load_state_dict(quantizer.state_dict())
    assert other.temperature.item() == pytest.approx(0.2)
    frozen = lgq(temperature_steps=4)
    frozen.freeze()
    frozen(latents())
    assert frozen.temperature.item() == lgq().temperature.item() == 1.0


def test_codes_start_as_latents_of_the_first_batch():
    quantizer, z = lgq(from_latents=True), latents()
    assert quantizer.needs_init
    quantizer(z)
    assert not quantizer.needs_init
    starts = torch.cdist(quantizer.embedding, vectors(z), compute_mode='donot_use_mm_for_euclid_dist').min(1)
    assert starts.values.max() == 0  # they are latents,
    assert len(starts.indices.unique()) == K  # all different
    other = lgq(from_latents=True)
    other.load_state_dict(quantizer.state_dict())
    assert not other.needs_init
    before = copy.deepcopy(other.embedding)
    other(latents())
    assert torch.equal(other.embedding, before)


def test_frozen_codes_that_never_started_are_refused():
    quantizer = lgq(from_latents=True)
    quantizer.freeze()
    with pytest.raises(UserError, match='LGQ: frozen, but its codes have yet to start from latents'):
        quantizer(latents())


@pytest.mark.parametrize(
    'bad',
    [dict(temperature=0.0), dict(final_temperature=-1.0), dict(peak_weight=-1.0), dict(temperature_steps=-1)],
)
def test_impossible_options_are_refused(bad: dict[str, Any]):
    with pytest.raises(UserError, match='LGQ: temperatures must be above 0'):
        lgq(**bad)
