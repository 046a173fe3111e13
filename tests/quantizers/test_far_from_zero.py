"""Latents and codes with a large common mean: every part that compares them gives what it gives at zero, or in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fvq_core.ops.kmeans import kmeans
from fvq_core.registry import REGULARIZERS
from fvq_eval.analysis.center_shift import assignment_margin
from fvq_quantizers.chunked_softmax import soft_choice, soft_gradient
from fvq_quantizers.distances import DotProduct, OptimalTransport, SquaredL2
from fvq_quantizers.updates.latent_sampling import best_latents

from .matrix import build

MEAN = 2.0**14  # with numbers of few bits it can be added without rounding: results must then be those at zero


def few_bits(*shape: int, seed: int) -> Tensor:
    """N(0, 1) rounded to multiples of 1/256."""
    return (torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 256).round() / 256


def pair() -> tuple[Tensor, Tensor]:
    return few_bits(400, 16, seed=1), few_bits(96, 16, seed=2)


def test_soft_choices_and_their_gradients_are_those_at_zero():
    z_ND, codebook_KD = pair()
    for temperature in (1.0, 0.1):
        found = []
        for mean in (0.0, MEAN):
            z, codes = (x.clone().add_(mean).requires_grad_() for x in (z_ND, codebook_KD))
            entropy, mean_K = soft_choice(z, codes, SquaredL2(), temperature)
            soft = soft_gradient(z, codes, codebook_KD, SquaredL2(), temperature)
            (entropy + mean_K[:9].sum() + (soft * z_ND).sum() / len(z_ND)).backward()
            found.append((entropy.detach(), mean_K.detach(), z.grad, codes.grad))
        torch.testing.assert_close(found[1], found[0], rtol=1e-3, atol=1e-5)


def test_soft_choices_by_dot_product_are_those_of_codes_at_zero():
    z_ND, codebook_KD = pair()
    at_zero, far = (soft_choice(z_ND, codebook_KD + mean, DotProduct(), 1.0) for mean in (0.0, MEAN))
    torch.testing.assert_close(far, at_zero, rtol=1e-3, atol=1e-5)


def test_best_latents_of_codes_are_those_of_float64():
    z_ND, codebook_KD = (x + MEAN for x in pair())
    expected = z_ND[torch.cdist(codebook_KD.double(), z_ND.double()).argmin(1)]
    assert torch.equal(best_latents(codebook_KD, z_ND, z_ND, SquaredL2()), expected)


def test_transport_is_that_at_zero():
    z_ND, codebook_KD = pair()
    at_zero, far = (OptimalTransport().assign(z_ND + mean, codebook_KD + mean) for mean in (0.0, MEAN))
    assert torch.equal(far, at_zero)


def test_contrastive_term_is_that_at_zero():
    z_ND, codebook_KD = pair()
    term = REGULARIZERS.build(dict(type='ContrastiveRegularizer', temperature=5.0))
    at_zero, far = (term(z_ND + mean, codebook_KD + mean, SquaredL2())['contrastive'] for mean in (0.0, MEAN))
    torch.testing.assert_close(far, at_zero, rtol=1e-4, atol=0)


def test_clusters_are_those_at_zero():
    z_ND, _ = pair()
    at_zero, far = (
        kmeans(z_ND + mean, 12, iterations=5) for mean in (0.0, 512.0)
    )  # centres are rounded where they lie
    assert torch.equal(far.counts_K, at_zero.counts_K)
    torch.testing.assert_close(far.centres_KD - 512.0, at_zero.centres_KD, rtol=0, atol=1e-4)


def test_margin_between_the_two_nearest_codes_is_that_at_zero():
    z_ND, codebook_KD = pair()
    torch.testing.assert_close(
        assignment_margin(z_ND + MEAN, codebook_KD + MEAN), assignment_margin(z_ND, codebook_KD), rtol=0, atol=1e-4
    )


def test_soft_targets_of_residual_codes_are_those_of_float64():
    quantizer = build(
        dict(type='ResidualQuantizer', depth=1, quantizer=dict(type='VectorQuantizer', codebook_size=96, code_dim=16))
    )
    z_ND, codebook_KD = (x + MEAN for x in pair())
    with torch.no_grad():
        quantizer.quantizers[0].embedding.copy_(codebook_KD)
    soft, _ = quantizer.soft_codes(z_ND.view(1, 20, 20, 16).permute(0, 3, 1, 2), temperature=2.0)
    expected = (-torch.cdist(z_ND.double(), codebook_KD.double()).square() / 2.0).softmax(1)
    torch.testing.assert_close(soft.view(400, 96).double(), expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize('normalize', ['CosineSearch', 'L2Normalize'])
def test_directions_that_nearly_agree_are_told_apart(normalize: str):
    quantizer = build(dict(type='VectorQuantizer', codebook_size=96, code_dim=16, normalize=dict(type=normalize)))
    z_ND, codebook_KD = (1.0 + 0.003 * x for x in pair())
    with torch.no_grad():
        quantizer.embedding.copy_(codebook_KD)
    codes = quantizer(z_ND.view(1, 20, 20, 16).permute(0, 3, 1, 2)).codes.indices_BL.flatten()
    units = [torch.nn.functional.normalize(x) for x in (z_ND, codebook_KD)]
    exact_NK = torch.cdist(*(x.double() for x in units))
    assert (codes != exact_NK.argmin(1)).double().mean() < 0.005
