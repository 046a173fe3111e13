"""Alternating optimisation: inner steps by hand and by torch.optim, and codes that fit the batch before they are used."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from fvq_core.errors import UserError
from fvq_quantizers.updates import AlternatingUpdate

from .matrix import VECTOR, build, latents, vectors

BRIDGE = dict(type='VQBridge', patch_size=4, output_scale=1.0)


def alternating(options: dict[str, Any] | None = None, **axes: Any) -> Any:
    """A quantizer in train mode whose codes step before they are used."""
    return build(VECTOR, train=True, update=dict(type='AlternatingUpdate', **(options or {})), **axes)


@pytest.mark.parametrize('projector', [dict(type='IdentityProjector'), dict(type='LinearProjector'), BRIDGE])
@pytest.mark.parametrize('normalize', ['NoNormalization', 'L2Normalize'])
@pytest.mark.parametrize(
    ('options', 'optimizer'),
    [
        (dict(lr=20.0, momentum=0.9), lambda p: torch.optim.SGD(p, lr=20.0, momentum=0.9)),
        (dict(optimizer='adam', lr=0.1), lambda p: torch.optim.Adam(p, lr=0.1)),
    ],
)
def test_inner_steps_are_those_of_torch_optim_on_the_codebook_loss(
    projector: dict[str, Any], normalize: str, options: dict[str, Any], optimizer: Any
):
    quantizer = alternating(dict(steps=2, **options), projector=projector, normalize=dict(type=normalize))
    raw = quantizer.embedding.detach().clone().requires_grad_()
    reference = optimizer([raw])
    for _ in range(3):
        z = latents()
        for _ in range(2):
            z_ND, codebook = quantizer.normalize.latent(vectors(z)), quantizer.normalize.codes(quantizer.projector(raw))
            loss = (codebook[torch.cdist(z_ND, codebook).argmin(1)] - z_ND).square().mean()
            (raw.grad,) = torch.autograd.grad(loss, raw)
            reference.step()
        before = quantizer.embedding.detach().clone()
        output = quantizer(z)
        assert not torch.equal(quantizer.embedding, before)
        torch.testing.assert_close(quantizer.embedding, raw.detach(), rtol=1e-3, atol=1e-4)
        used = quantizer.codebook().detach()[output.codes.indices_BL.flatten()]
        torch.testing.assert_close(vectors(output.z_q_BDHW.detach()), used, rtol=1e-3, atol=1e-4)


def test_codes_fit_the_batch_better_than_before_the_step():
    quantizer, z = alternating(dict(lr=40.0, momentum=0.0)), latents()
    with torch.no_grad():
        before = F.mse_loss(vectors(quantizer.eval()(z).z_q_BDHW), vectors(z))
    error = F.mse_loss(quantizer.train()(z).z_q_BDHW, z)
    assert error < 0.9 * before


def test_old_choice_is_kept_where_no_second_search_is_wanted():
    z = latents()
    quick, exact = (alternating(dict(lr=200.0, search_again=again)) for again in (False, True))
    exact.load_state_dict(quick.state_dict())
    with torch.no_grad():
        chosen = quick.eval()(z).codes.indices_BL
    assert torch.equal(quick.train()(z).codes.indices_BL, chosen)
    searched = exact.train()(z).codes.indices_BL
    assert torch.equal(exact.embedding, quick.embedding)
    assert torch.equal(searched.flatten(), torch.cdist(vectors(z), exact.embedding.detach()).argmin(1))
    assert not torch.equal(searched, chosen)


def test_outer_optimizer_leaves_the_codes_alone_unless_told_otherwise():
    assert not alternating().embedding.requires_grad
    estimator = dict(type='SynchronizedStraightThrough', nu=1.0)
    quantizer = alternating(dict(trainable=True), estimator=estimator)
    quantizer(latents()).z_q_BDHW.square().sum().backward()
    assert quantizer.embedding.grad.abs().sum() > 0


def test_projector_is_trained_only_by_the_outer_loss():
    quantizer = alternating(projector=dict(type='LinearProjector'))
    output = quantizer(latents())
    assert all(parameter.grad is None for parameter in quantizer.parameters())
    sum(output.losses.values()).backward()
    assert quantizer.projector.map.weight.grad.abs().sum() > 0


@pytest.mark.parametrize('optimizer', ['sgd', 'adam'])
def test_state_of_the_inner_optimizer_is_resumed(optimizer: str):
    options = dict(optimizer=optimizer, lr=0.1)
    whole, resumed, batches = alternating(options), alternating(options), [latents(), latents()]
    whole(batches[0])
    resumed.load_state_dict(whole.state_dict())
    assert whole.update.momentum_KD.abs().sum() > 0
    for quantizer in (whole, resumed):
        quantizer(batches[1])
    assert torch.equal(whole.embedding, resumed.embedding)


def test_two_forward_passes_before_one_backward_pass_are_allowed():
    quantizer = alternating(projector=dict(type='LinearProjector'))
    losses = [sum(quantizer(latents()).losses.values()) for _ in range(2)]
    sum(losses).backward()
    assert quantizer.projector.map.weight.grad.abs().sum() > 0


def test_impossible_options_are_refused():
    with pytest.raises(UserError, match='steps must be 1 or more and lr above 0, got 0'):
        AlternatingUpdate(steps=0)
    with pytest.raises(UserError, match="optimizer must be 'sgd' or 'adam', got 'lbfgs'"):
        AlternatingUpdate(optimizer='lbfgs')
    with pytest.raises(
        UserError, match=r'AlternatingUpdate acts on a single codebook .*, and DiTBridge with num_classes'
    ):
        alternating(projector=dict(type='DiTBridge', patch_size=4, num_classes=3))
