"""Gradients of every quantizer against finite differences, in two precisions and for a single latent."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fvq_core.quantizer import Quantizer
from fvq_quantizers import VectorQuantizer

from .matrix import acts_first, build, cases, latents

CASES = cases()
every_case = pytest.mark.parametrize('name', list(CASES))

# What a term's value says about its gradient: a term with a constant side changes only with the other side.
OF_THE_LATENT, OF_THE_CODES = ('commitment',), ('codebook', 'contrastive', 'orthogonal')
# No finite difference shows a surrogate: IBQ's first term and LGQ's pass the estimator, Reg-VQ's hard counts are a step
# function, NS-VQ's kernel is a constant.
SURROGATES = ('double', 'quantization', 'prior', 'dense')
# Residuals take earlier codes as constants, which a finite difference does not.
SUMS = ('ResidualQuantizer', 'MultiScaleQuantizer')
STEP = 2e-4


def difference(value: Callable[[float], Tensor]) -> float:
    """The central difference of a function of one number at 0."""
    return ((value(STEP).double() - value(-STEP).double()) / (2 * STEP)).item()


def trained(quantizer: Quantizer) -> dict[str, Tensor]:
    return {name: parameter for name, parameter in quantizer.named_parameters() if parameter.requires_grad}


def moved(quantizer: Quantizer, directions: dict[str, Tensor], by: float) -> Quantizer:
    """A copy whose parameters stand a little elsewhere."""
    quantizer = copy.deepcopy(quantizer)
    with torch.no_grad():
        for name, direction in directions.items():
            quantizer.get_parameter(name).add_(direction, alpha=by)
    return quantizer


class Replay:
    """Searches as usual, and from `again` on gives the same codes once more: a loss is smooth while no choice changes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.found: list[Tensor] = []
        self.next: int | None = None
        search = VectorQuantizer.search

        def replayed(quantizer: VectorQuantizer, z_ND: Tensor, codebook_KD: Tensor) -> Tensor:
            if self.next is None:
                self.found.append(search(quantizer, z_ND, codebook_KD))
                return self.found[-1]
            self.next += 1
            return self.found[self.next - 1]

        monkeypatch.setattr(VectorQuantizer, 'search', replayed)

    def again(self) -> None:
        self.next = 0


@torch.no_grad()
def losses(quantizer: Quantizer, z: Tensor, replay: Replay) -> dict[str, Tensor]:
    """Of one training pass of a copy, with the same choices and draws each time."""
    replay.again()
    torch.manual_seed(7)
    return copy.deepcopy(quantizer)(z).losses


@pytest.mark.parametrize('name', [name for name in CASES if not acts_first(build(CASES[name]))])
def test_gradient_of_every_loss_term_is_its_finite_difference(name: str, monkeypatch: pytest.MonkeyPatch):
    replay = Replay(monkeypatch)
    origin, z = build(CASES[name], train=True), latents().requires_grad_()
    quantizer = copy.deepcopy(origin)  # a forward pass may move buffers and codes
    parameters = trained(quantizer)
    to_z, to_parameters = torch.randn_like(z), {key: torch.randn_like(p) for key, p in parameters.items()}
    torch.manual_seed(7)
    for key, term in quantizer(z).losses.items():
        if key in SURROGATES:
            continue
        grad_z, *grads = torch.autograd.grad(term, (z, *parameters.values()), retain_graph=True, materialize_grads=True)
        if getattr(origin, 'residual_losses', False):
            assert not grad_z.any(), f'{key}: the latent is a constant in losses of residuals'
        elif key not in OF_THE_CODES:
            slope = difference(lambda by, key=key: losses(origin, z + by * to_z, replay)[key])
            assert (grad_z * to_z).sum().item() == pytest.approx(slope, rel=0.03, abs=2e-3), f'{key}, latent'
        if key not in OF_THE_LATENT and not (key == 'entropy' and name.startswith(SUMS)):
            slope = difference(lambda by, key=key: losses(moved(origin, to_parameters, by), z, replay)[key])
            along = sum((g * to_parameters[name]).sum().item() for name, g in zip(parameters, grads, strict=True))
            assert along == pytest.approx(slope, rel=0.03, abs=5e-3), f'{key}, parameters'


@every_case
def test_gradient_of_decoded_codes_is_their_finite_difference(name: str):
    quantizer = build(CASES[name])
    parameters = trained(quantizer)
    codes, upstream = quantizer(latents()).codes, latents()
    directions = {key: torch.randn_like(p) for key, p in parameters.items()}
    value = (quantizer.embed(codes) * upstream).sum()
    if not parameters:
        assert not value.requires_grad
        return
    grads = torch.autograd.grad(value, parameters.values(), materialize_grads=True)
    along = sum((g * d).sum().item() for g, d in zip(grads, directions.values(), strict=True))
    with torch.no_grad():
        slope = difference(lambda by: (moved(quantizer, directions, by).embed(codes) * upstream).double().sum())
    assert along == pytest.approx(slope, rel=0.03, abs=0.05)


@every_case
def test_training_in_bfloat16_has_the_losses_and_gradients_of_float32(name: str):
    quantizer, z = build(CASES[name], train=True), latents().bfloat16()
    results = []
    for dtype in (torch.float32, torch.bfloat16):
        twin, x = copy.deepcopy(quantizer), z.to(dtype).requires_grad_()
        torch.manual_seed(7)
        with torch.autocast('cpu', dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            output = twin(x)
        (sum(output.losses.values()) + output.z_q_BDHW.mean()).backward()
        grads = {key: p.grad for key, p in twin.named_parameters() if p.grad is not None}
        results.append((output.losses, grads, x.grad.float()))
    (losses_32, grads_32, z_32), (losses_16, grads_16, z_16) = results
    torch.testing.assert_close(losses_16, losses_32)
    torch.testing.assert_close(grads_16, grads_32)
    torch.testing.assert_close(z_16, z_32, rtol=2**-7, atol=1e-6)


@every_case
def test_training_takes_a_batch_of_one_latent(name: str):
    quantizer = build(CASES[name], train=True)
    for _ in range(3):
        z = latents(1, 1, 1).requires_grad_()
        output = quantizer(z)
        (sum(output.losses.values()) + output.z_q_BDHW.sum()).backward()
        assert torch.isfinite(z.grad).all()
    for key, tensor in [*quantizer.state_dict().items(), *output.losses.items()]:
        assert torch.isfinite(tensor).all(), key
    assert all(torch.isfinite(p.grad).all() for p in quantizer.parameters() if p.grad is not None)
