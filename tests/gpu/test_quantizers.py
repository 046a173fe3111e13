"""On a GPU quantizers have the codes, values, gradients and losses of the CPU.

Near-ties may fall the other way, and sums are taken in another order, so values agree within tolerances.
"""

from __future__ import annotations

import copy

import pytest
import torch

from ..quantizers.matrix import acts_first, build, cases, latents
from .shares import matching

pytestmark = pytest.mark.gpu
CASES = cases()
RANDOM = (
    'Gumbel',
    'reg-vq',
    'drawn',
    'pooled',
    'random',
    'dead codes',
    'StochasticMask',
    'DiVeQ',
)  # draw on the device


@pytest.mark.parametrize('name', CASES)
@torch.no_grad()
def test_every_quantizer_gives_the_codes_and_values_of_the_cpu(name: str) -> None:
    quantizer, z = build(CASES[name]), latents(4, 8, 8)
    there = copy.deepcopy(quantizer).cuda()
    expected, got = quantizer(z), there(z.cuda())
    assert got.z_q_BDHW.is_cuda
    same = (got.z_q_BDHW.cpu() - expected.z_q_BDHW).abs().amax(1) < 1e-3
    assert same.double().mean() > 0.97
    assert matching(got.codes.indices_BL, expected.codes.indices_BL) > 0.97
    assert torch.equal(there.embed(got.codes), got.z_q_BDHW)
    assert torch.equal(there.fold()(z.cuda()).codes.indices_BL, got.codes.indices_BL)


@pytest.mark.parametrize('name', CASES)
def test_every_quantizer_trains(name: str) -> None:
    quantizer, z = build(CASES[name], train=True).cuda(), latents(4, 8, 8).cuda().requires_grad_()
    for _ in range(2):
        output = quantizer(z)
        (sum(output.losses.values()) + output.z_q_BDHW.square().mean()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in [z, *quantizer.parameters()])
    assert z.grad is not None
    assert z.grad.abs().sum() > 0


@pytest.mark.parametrize('name', [name for name in CASES if not any(word in name for word in RANDOM)])
def test_gradients_and_losses_are_those_of_the_cpu(name: str) -> None:
    quantizer, z = (
        build(CASES[name], train=True).double(),
        latents(4, 8, 8).double(),
    )  # no near-tie is decided by rounding
    if acts_first(quantizer):
        pytest.skip('assigns its codes, or moves them first')
    results = []
    for device in ('cpu', 'cuda'):
        module, z_here = copy.deepcopy(quantizer).to(device), z.detach().to(device, copy=True).requires_grad_()
        output = module(z_here)
        (sum(output.losses.values()) + output.z_q_BDHW.square().mean()).backward()
        results.append({'z': z_here.grad, **output.losses} | {n: p.grad for n, p in module.named_parameters()})
    for key, value in results[0].items():
        if value is not None:
            torch.testing.assert_close(
                results[1][key].cpu(), value, rtol=2e-2, atol=1e-4, msg=lambda m, k=key: f'{k}: {m}'
            )
