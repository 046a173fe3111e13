"""Finite scalar quantization: levels, bounds, gradients, precision."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from fvq_core.codes import CodeLayout, Grid
from fvq_core.errors import UserError
from fvq_core.registry import QUANTIZERS
from fvq_quantizers import FSQ

from .matrix import latents, vectors


def fsq(*levels: int, train: bool = False, **options: Any) -> FSQ:
    return QUANTIZERS.build(dict(type='FSQ', levels=levels, **options)).train(train)


def ramp(channels: int = 1) -> Tensor:
    """Latents from -4 to 4 in every channel, (1, channels, 1, 4001)."""
    return torch.linspace(-4, 4, 4001).expand(1, channels, 1, -1)


@pytest.mark.parametrize(
    ('levels', 'symmetric', 'values'),
    [
        (5, False, [-1, -0.5, 0, 0.5, 1]),
        (4, False, [-1, -0.5, 0, 0.5]),
        (4, True, [-1, -1 / 3, 1 / 3, 1]),
        (2, True, [-1, 1]),
        (5, True, [-1, -0.5, 0, 0.5, 1]),
    ],
)
@pytest.mark.parametrize('hard_clamp', [False, True])
def test_every_level_is_reached_in_order(levels: int, symmetric: bool, values: list[float], hard_clamp: bool):
    quantizer = fsq(levels, symmetric=symmetric, hard_clamp=hard_clamp)
    output = quantizer(ramp())
    torch.testing.assert_close(output.z_q_BDHW.unique(), torch.tensor(values, dtype=torch.float32))
    indices = output.codes.indices_BL[0]
    assert (indices.diff() >= 0).all()
    assert indices.unique().tolist() == list(range(levels))
    torch.testing.assert_close(quantizer.codebook().flatten(), torch.tensor(values, dtype=torch.float32))


@pytest.mark.parametrize('levels', [3, 4, 7, 8])
@pytest.mark.parametrize('symmetric', [False, True])
def test_code_is_the_level_nearest_to_the_bounded_latent(levels: int, symmetric: bool):
    quantizer = fsq(levels, symmetric=symmetric)
    output = quantizer(ramp())
    bounded, codebook = output.z_BDHW.flatten(), quantizer.codebook().flatten()
    distances = (bounded[:, None] - codebook).abs()
    chosen = distances.gather(1, output.codes.indices_BL[0][:, None])[:, 0]
    torch.testing.assert_close(chosen, distances.min(1).values, rtol=0, atol=1e-6)


@pytest.mark.parametrize('levels', [4, 5])
def test_zero_stays_zero_and_bound_reaches_just_beyond_the_outermost_levels(levels: int):
    x = fsq(levels).bound(torch.tensor([0.0, -100.0, 100.0]).view(3, 1, 1)).flatten()
    half, offset = (levels - 1) * 1.001 / 2, 0.5 * (levels % 2 == 0)
    expected = torch.tensor([0.0, -half - offset, half - offset]) / (levels // 2)
    torch.testing.assert_close(x, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('symmetric', [False, True])
def test_gradient_is_that_of_the_bound(symmetric: bool):
    z, gradient = latents(dim=3), latents(dim=3)
    quantizer = fsq(8, 5, 3, train=True, symmetric=symmetric)
    one, other = (z.clone().requires_grad_() for _ in range(2))
    output = quantizer(one)
    assert not output.losses
    output.z_q_BDHW.backward(gradient)
    quantizer.bound(vectors(other).unsqueeze(1)).squeeze(1).backward(vectors(gradient))
    torch.testing.assert_close(one.grad, other.grad)


def test_first_level_is_the_lowest_digit():
    codebook_KD = fsq(3, 5).codebook()
    assert codebook_KD[:4].tolist() == [[-1, -1], [0, -1], [1, -1], [-1, -0.5]]


def test_more_than_a_thousand_levels_stay_inside_the_codebook():
    codes = fsq(2001)(1000 * ramp()).codes
    codes.layout.check(codes.indices_BL)


def test_many_levels_survive_autocast_and_would_not_survive_bfloat16():
    quantizer, z = fsq(1000), ramp()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        output = quantizer(z)
    used = len(output.codes.indices_BL.unique())
    assert used == len(quantizer(z).codes.indices_BL.unique())
    rounded = (output.z_BDHW.bfloat16() * 500).round()
    assert len(rounded.unique()) < 0.8 * used


def test_noise_touches_the_asked_share_in_training_and_no_index():
    quantizer, z = fsq(9, 9, symmetric=True, noise_dropout=0.25, train=True), latents(8, 20, 20, dim=2)
    noisy = quantizer(z)
    clean = quantizer.eval()(z)
    assert torch.equal(noisy.codes.indices_BL, clean.codes.indices_BL)
    difference = (noisy.z_q_BDHW - clean.z_q_BDHW).abs()
    assert (difference > 1e-5).float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert difference.max() <= 0.5
    assert noisy.z_q_BDHW.abs().max() <= 1


def test_ifsq_is_the_released_rule():
    """17 levels of a channel: 8 (2 sigmoid(1.6 z) - 1), rounded and divided by 8, with the sigmoid's gradient."""
    z, gradient = latents(dim=4), latents(dim=4)
    output = fsq(17, 17, 17, 17, symmetric=True, slope=0.8, train=True)(z.requires_grad_())
    other = z.detach().clone().requires_grad_()
    bounded = 2 / (1 + torch.exp(-1.6 * other)) - 1
    digits = (8 * bounded).round().long()
    torch.testing.assert_close(output.z_q_BDHW, digits / 8)
    significance = torch.tensor([1, 17, 17**2, 17**3]).view(4, 1, 1)
    assert torch.equal(output.codes.indices_BL, ((digits + 8) * significance).sum(1).flatten(1))
    output.z_q_BDHW.backward(gradient)
    bounded.backward(gradient)
    torch.testing.assert_close(z.grad, other.grad)


def test_ifsq_spreads_a_normal_latent_over_the_levels_and_tanh_does_not():
    """Kolmogorov-Smirnov distance from the uniform distribution, sup |(1 + tanh(a z)) / 2 - Phi(z)|."""
    z = torch.linspace(-6, 6, 100001, dtype=torch.float64)
    phi = (1 + torch.erf(z / math.sqrt(2))) / 2
    apart = {a: ((1 + fsq(17, slope=a, symmetric=True).bound(z)) / 2 - phi).abs().max().item() for a in (0.8, 1.0)}
    assert apart[0.8] < 0.02 < 0.04 < apart[1.0]
    zero = torch.zeros(1, 1, 1)
    assert fsq(4, slope=0.8).bound(zero).abs().item() < 1e-6  # zero stays where it is with a shift too


def test_tokens_of_some_channels_make_up_the_index():
    z = latents(dim=4)
    whole, parts = fsq(5, 3, 4, 3)(z), fsq(5, 3, 4, 3, token_channels=(2, 2))
    codes = parts(z).codes
    assert codes.layout == CodeLayout(Grid(4, 6), (15, 12))
    first, second = codes.unflatten().flatten(1, 2).unbind(-1)
    assert torch.equal(first + 15 * second, whole.codes.indices_BL)
    assert torch.equal(parts.embed(codes), whole.z_q_BDHW)


def test_groups_share_the_levels():
    z = latents(dim=4)
    codes = fsq(5, 3, groups=2)(z).codes
    assert codes.layout == CodeLayout(Grid(4, 6), (15, 15))
    assert torch.equal(codes.unflatten()[..., 1], fsq(5, 3)(z[:, 2:]).codes.unflatten())


@pytest.mark.parametrize(
    ('levels', 'options', 'message'),
    [
        ((4, 1), {}, '2 or more levels'),
        ((), {}, '2 or more levels'),
        ((4, 2), {}, 'need symmetric=True'),
        ((4,), dict(noise_dropout=0.5), 'need symmetric=True'),
        ((4,), dict(noise_dropout=1.5, symmetric=True), r'lie in \[0, 1\]'),
        ((4,), dict(slope=0.0), 'slope must be above 0, got 0.0'),
        ((5, 5), dict(token_channels=(2, 1)), r'tokens of \(2, 1\) channels do not make up 2'),
    ],
)
def test_impossible_options_are_refused(levels: tuple[int, ...], options: dict[str, Any], message: str):
    with pytest.raises(UserError, match=message):
        fsq(*levels, **options)
