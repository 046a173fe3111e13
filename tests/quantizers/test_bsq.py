"""Binary spherical quantization: corners of the unit sphere, the error that they bound, both entropies."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from fvq_core.errors import UserError
from fvq_core.registry import QUANTIZERS
from fvq_quantizers.bsq import BSQ

from .matrix import latents, vectors


def bsq(train: bool = False, **options: Any) -> BSQ:
    return QUANTIZERS.build(dict(type='BSQ', **{'codebook_size': 256, **options})).train(train)


def test_codes_are_the_corners_of_the_unit_sphere():
    codebook_KD = bsq().codebook()
    assert codebook_KD.shape == (256, 8)
    assert len(codebook_KD.unique(dim=0)) == 256
    torch.testing.assert_close(codebook_KD.norm(dim=1), torch.ones(256))


def test_code_is_the_nearest_of_all_and_ignores_the_length_of_the_latent():
    z, quantizer = latents(), bsq()
    codes = quantizer(z).codes
    distance_NK = torch.cdist(F.normalize(vectors(z), dim=1), quantizer.codebook())
    assert torch.equal(codes.indices_BL.flatten(), distance_NK.argmin(1))
    assert torch.equal(quantizer(5 * z).codes.indices_BL, codes.indices_BL)


@given(bits=st.integers(1, 12), seed=st.integers(0, 99))
def test_quantization_error_stays_below_the_papers_bound(bits: int, seed: int):
    """|u - code| < sqrt(2 - 2 / sqrt(L)), equation 13 of the paper; a latent along one axis comes near to it."""
    z = torch.randn(1, bits, 4, 4, generator=torch.Generator().manual_seed(seed))
    error = (F.normalize(z, dim=1) - bsq(codebook_size=2**bits)(z).z_q_BDHW).norm(dim=1)
    assert error.max() <= math.sqrt(2 - 2 / math.sqrt(bits)) + 1e-5


def test_losses_are_those_of_a_softmax_over_all_codes():
    """Over all 256 codes the soft choice's entropy is that of the paper's equation; its mean's is the sum over bits."""
    z = latents()
    quantizer = bsq(train=True, inverse_temperature=10.0, entropy_weight=0.3, commitment_weight=0.7)
    losses = quantizer(z).losses
    u_ND, codebook_KD = F.normalize(vectors(z), dim=1), quantizer.codebook()
    p_NK = (2 * 10.0 * u_ND @ codebook_KD.T).softmax(1)
    sample = -(p_NK * p_NK.log()).sum(1).mean()
    on_D = p_NK.mean(0) @ (codebook_KD > 0).float()
    batch = -(on_D * on_D.log() + (1 - on_D) * (1 - on_D).log()).sum()
    codes_ND = codebook_KD[(u_ND @ codebook_KD.T).argmax(1)]
    torch.testing.assert_close(losses['commitment'], 0.7 * (u_ND - codes_ND).square().sum(1).mean())
    torch.testing.assert_close(losses['entropy'], 0.3 / 10.0 * (sample - batch))


def test_gradient_reaches_the_latent_through_the_sphere():
    z = latents().requires_grad_()
    output = bsq(train=True, commitment_weight=0.0, entropy_weight=0.0)(z)
    weight = torch.randn_like(output.z_q_BDHW)
    (given_gradient,) = torch.autograd.grad((output.z_q_BDHW * weight).sum(), z)
    (expected,) = torch.autograd.grad((F.normalize(z, dim=1) * weight).sum(), z)
    torch.testing.assert_close(given_gradient, expected)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(codebook_size=1000), 'power of 2'),
        (dict(entropy_weight=-1.0), 'weights'),
        (dict(inverse_temperature=0.0), 'inverse_temperature'),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, Any], message: str):
    with pytest.raises(UserError, match=message):
        bsq(**options)
