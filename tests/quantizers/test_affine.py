"""The affine projector: start, step, groups, and running statistics."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from fvq_core.errors import UserError
from fvq_core.registry import PROJECTORS

from .matrix import VECTOR, D, K, build, latents, vectors

RUNNING = dict(type='AffineProjector', use_running_statistics=True)


def affine(**options: Any) -> nn.Module:
    return PROJECTORS.build(dict(type='AffineProjector', **options), codebook_size=K, code_dim=D)


def test_it_starts_as_the_identity():
    codebook_KD = torch.randn(K, D)
    for options in (dict(lr=10.0), dict(num_groups=4), dict(use_running_statistics=True)):
        torch.testing.assert_close(affine(**options)(codebook_KD), codebook_KD)


def test_a_step_of_scale_and_bias_is_multiplied_by_lr():
    projector, codebook_KD = affine(lr=10.0), torch.randn(K, D)
    with torch.no_grad():
        projector.scale += 0.3
        projector.bias -= 0.2
    torch.testing.assert_close(projector(codebook_KD), (1 + 10 * 0.3) * codebook_KD - 10 * 0.2)


def test_groups_are_consecutive_codes_with_a_map_each():
    projector, codebook_KD = affine(num_groups=2), torch.randn(K, D)
    with torch.no_grad():
        projector.bias[1] = 5.0
    difference = projector(codebook_KD) - codebook_KD
    torch.testing.assert_close(difference[: K // 2], torch.zeros(K // 2, D))
    torch.testing.assert_close(difference[K // 2 :], torch.full((K // 2, D), 5.0))


def test_one_used_code_moves_all():
    quantizer = build(VECTOR, train=True, projector=dict(type='AffineProjector'))
    (quantizer.codebook()[3] ** 2).sum().backward()
    assert (quantizer.projector.scale.grad != 0).all()
    assert (quantizer.projector.bias.grad != 0).all()


def test_running_statistics_give_codes_the_moments_of_the_latents():
    projector, codebook_KD = affine(use_running_statistics=True), torch.randn(K, D)
    z_ND = 3 * torch.randn(500, D) + torch.arange(D)
    projector.observe(z_ND, codebook_KD)
    mapped = projector(codebook_KD)
    torch.testing.assert_close(mapped.mean(0), z_ND.mean(0), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(mapped.std(0, unbiased=False), z_ND.std(0, unbiased=False), atol=1e-4, rtol=1e-4)


def test_running_statistics_are_moving_averages_that_start_at_the_first_batch():
    projector, codebook_KD = affine(use_running_statistics=True, momentum=0.25), torch.randn(K, D)
    one, two = torch.randn(50, D), torch.randn(50, D) + 1
    for z_ND in (one, two):
        projector.observe(z_ND, codebook_KD)
    torch.testing.assert_close(projector.latent_mean, 0.75 * one.mean(0) + 0.25 * two.mean(0))
    expected = 0.75 * one.var(0, unbiased=False) + 0.25 * two.var(0, unbiased=False)
    torch.testing.assert_close(projector.latent_var, expected)
    torch.testing.assert_close(projector.code_var, codebook_KD.var(0, unbiased=False))


def test_learned_scale_and_bias_ignore_what_they_observe():
    projector, codebook_KD = affine(), torch.randn(K, D)
    projector.observe(torch.randn(50, D) + 5, codebook_KD)
    assert torch.equal(projector(codebook_KD), codebook_KD)
    assert not list(projector.buffers())


def test_quantizer_shows_each_training_batch_to_its_projector_and_no_other():
    quantizer, z = build(VECTOR, train=True, projector=RUNNING), latents() + 4
    quantizer(z)
    torch.testing.assert_close(quantizer.projector.latent_mean, vectors(z).mean(0))
    torch.testing.assert_close(quantizer.codebook().mean(0), vectors(z).mean(0), atol=1e-4, rtol=1e-4)
    quantizer.eval()(latents())
    torch.testing.assert_close(quantizer.projector.latent_mean, vectors(z).mean(0))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(num_groups=3), 'codebook_size 16 is not a multiple of num_groups 3'),
        (dict(num_groups=0), 'not a multiple of num_groups 0'),
        (dict(num_groups=2, use_running_statistics=True), 'all 2 groups would share the statistics'),
        (dict(momentum=0.0), r'momentum must lie in \(0, 1\]'),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], message: str):
    with pytest.raises(UserError, match=message):
        affine(**options)
