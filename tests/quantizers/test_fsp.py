"""Finite scalar perturbation: even bins, their middles, perturbation, moments, bad input."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, distributions

from fvq_core.errors import UserError
from fvq_core.registry import QUANTIZERS
from fvq_quantizers.fsp import FSP

from .matrix import latents, vectors

# The distribution that each activation makes uniform, by torch's own functions.
SHAPES: dict[str, Any] = dict(
    tanh=lambda z: torch.sigmoid(2 * z),
    sigmoid=torch.sigmoid,
    normal=distributions.Normal(0.0, 1.0).cdf,
    laplace=distributions.Laplace(0.0, 1.0).cdf,
)


def fsp(*levels: int, train: bool = False, **options: Any) -> FSP:
    return QUANTIZERS.build(dict(type='FSP', levels=levels, **options)).train(train)


@pytest.mark.parametrize('activation', list(SHAPES))
@pytest.mark.parametrize('rate', [0.0, 1.0])
def test_codes_are_the_middles_of_even_bins(activation: str, rate: float):
    """(floor(L F(z)) + 0.5) / L, minus a half, times sqrt 12, whatever training does."""
    z, levels = latents(4, dim=3), torch.tensor([8, 5, 2]).view(3, 1, 1)
    output = fsp(8, 5, 2, activation=activation, quantize_rate=rate)(z)
    digits = (SHAPES[activation](z) * levels).floor()
    torch.testing.assert_close(output.z_q_BDHW, ((digits + 0.5) / levels - 0.5) * 12**0.5)
    significance = torch.tensor([1, 8, 40]).view(3, 1, 1)
    assert torch.equal(output.codes.indices_BL, (digits * significance).sum(1).flatten(1).long())


def uniform(activation: str, dim: int = 3) -> Tensor:
    """Latents that the activation spreads evenly, 8,192 of each channel."""
    share = (torch.arange(8192) + 0.5) / 8192
    logit = torch.logit(share)
    quantile = dict(
        tanh=logit / 2,
        sigmoid=logit,
        normal=distributions.Normal(0.0, 1.0).icdf(share),
        laplace=distributions.Laplace(0.0, 1.0).icdf(share),
    )[activation]
    return torch.stack([quantile[torch.randperm(8192)] for _ in range(dim)]).view(1, dim, 64, 128)


@pytest.mark.parametrize('activation', list(SHAPES))
def test_every_bin_gets_the_same_share_and_the_codes_variance_is_one(activation: str):
    z = uniform(activation)
    output = fsp(4, 4, 4, train=True, activation=activation, quantize_rate=1.0)(z)
    counts = ((output.z_q_BDHW / 12**0.5 + 0.5) * 4 - 0.5).round().long()[0].flatten(1)
    for channel in counts:
        assert channel.bincount(minlength=4).sub(2048).abs().max() <= 1
    assert output.z_q_BDHW.var().item() == pytest.approx(1 - 1 / 16, abs=1e-3)  # that of L points in the middles
    assert output.losses['moments'] < 1e-3  # their variance is the one that is asked for


def test_perturbed_scalars_move_at_most_half_a_bin_and_never_out():
    z = uniform('tanh').requires_grad_()
    quantizer = fsp(5, 5, 5, train=True)
    output = quantizer(z)
    x = (SHAPES['tanh'](z) - 0.5) * 12**0.5
    moved = (output.z_q_BDHW - x) * 5 / 12**0.5  # in bins
    assert moved.abs().max() <= 0.5 + 1e-5
    assert output.z_q_BDHW.abs().max() < 12**0.5 / 2
    inner = moved[(x.abs() < 12**0.5 * 0.4)]
    assert inner.mean().item() == pytest.approx(0, abs=0.01)
    assert inner.var().item() == pytest.approx(1 / 12, abs=0.003)  # uniform on a bin
    gradient = torch.randn_like(z)
    (got,) = torch.autograd.grad(output.z_q_BDHW, z, gradient)
    (wanted,) = torch.autograd.grad(x, z, gradient)
    torch.testing.assert_close(got, wanted)


def test_rate_is_the_share_of_quantized_scalars():
    z, quantizer = uniform('tanh'), fsp(5, 5, 5, train=True, quantize_rate=0.25)
    trained = quantizer(z)
    hard = quantizer.eval()(z)
    assert torch.equal(trained.codes.indices_BL, hard.codes.indices_BL)
    same = (trained.z_q_BDHW == hard.z_q_BDHW).float().mean().item()
    assert same == pytest.approx(0.25, abs=0.02)


def test_moments_of_the_latents_are_pulled_to_those_of_the_distribution():
    z = latents(3) * 1.5 + 0.3
    loss = fsp(*[3] * 8, train=True, activation='sigmoid')(z).losses['moments']
    variance, mean = torch.var_mean(vectors(z), 0)
    expected = 0.1 * mean.square().mean() + 0.07 * (variance - torch.pi**2 / 3).square().mean()
    torch.testing.assert_close(loss, expected)
    assert fsp(3, train=True, mean_weight=0.0, variance_weight=0.0)(latents(dim=1)).losses == {}


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(levels=(3, 1)), '2 or more levels'),
        (dict(activation='cauchy'), "activation is one of tanh, sigmoid, normal, laplace, got 'cauchy'"),
        (dict(quantize_rate=1.5), r'quantize_rate must lie in \[0, 1\]'),
        (dict(mean_weight=-0.1), 'weights be 0 or more'),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str):
    with pytest.raises(UserError, match=message):
        QUANTIZERS.build({'type': 'FSP', 'levels': (3, 3), **options})


def test_perturbed_values_are_refused_where_residuals_follow():
    with pytest.raises(UserError, match='what FSP perturbs in training would reach the residuals'):
        QUANTIZERS.build(dict(type='ResidualQuantizer', quantizer=dict(type='FSP', levels=(3, 3))))
