"""Lookup-free quantization: signs, indices, sub-tokens, losses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fvq_core.codes import CodeLayout, Codes, Grid
from fvq_core.errors import UserError
from fvq_core.registry import QUANTIZERS
from fvq_quantizers import LFQ

from .matrix import latents, vectors


def lfq(train: bool = False, **options: Any) -> LFQ:
    return QUANTIZERS.build(dict(type='LFQ', **{'codebook_size': 256, **options})).train(train)


def test_code_is_the_sign_of_the_latent_and_zero_counts_as_negative():
    z = latents()
    z[0, :, 0, 0] = 0.0
    assert torch.equal(lfq()(z).z_q_BDHW, torch.where(z > 0, 1.0, -1.0))


@pytest.mark.parametrize(('order', 'index'), [('little', 1 + 4), ('big', 128 + 32)])
def test_index_is_the_binary_number_of_the_signs(order: str, index: int):
    z = torch.tensor([1.0, -1, 1, -1, -1, -1, -1, -1]).view(1, 8, 1, 1)
    output = lfq(order=order)(z)
    assert output.codes.indices_BL.item() == index
    assert torch.equal(lfq(order=order).codebook()[index], z.flatten())


def test_codebook_holds_every_corner_once():
    codebook_KD = lfq(codebook_scale=0.5).codebook()
    assert codebook_KD.shape == (256, 8)
    assert len(codebook_KD.unique(dim=0)) == 256
    assert codebook_KD.abs().unique().tolist() == [0.5]


def test_sub_tokens_hold_the_bits_of_the_index_and_rows_the_index():
    z, plain, factorized = latents(), lfq(), lfq(factorized_bits=(3, 5))
    index_BL, tokens = plain(z).codes.indices_BL, factorized(z).codes
    assert tokens.layout == CodeLayout(Grid(4, 6), (8, 32))
    parts = tokens.unflatten().flatten(1, 2)
    assert torch.equal(parts[..., 0] + 8 * parts[..., 1], index_BL)
    assert torch.equal(factorized.codebook_indices(tokens), index_BL)
    assert torch.equal(factorized.embed(tokens), plain(z).z_q_BDHW)
    assert factorized.codebook().shape == (256, 8)


def test_groups_stand_one_after_the_other_and_share_their_codes():
    z = latents()
    pair, single = lfq(codebook_size=16, groups=2)(z).codes, lfq(codebook_size=16)
    assert pair.layout == CodeLayout(Grid(4, 6), (16, 16))
    for group in range(2):
        expected = single(z[:, 4 * group : 4 * group + 4]).codes
        assert expected.layout == CodeLayout(Grid(4, 6), 16)
        assert torch.equal(pair.unflatten()[..., group], expected.unflatten())


def test_spherical_codes_and_latents_have_the_radius_as_length():
    output = lfq(spherical=True, codebook_scale=3.0)(latents())
    for x in (output.z_BDHW, output.z_q_BDHW):
        torch.testing.assert_close(x.norm(dim=1), torch.full((2, 4, 6), 3.0))


def naive_losses(z_ND: Tensor, codebook_KD: Tensor, temperature: float) -> dict[str, Tensor]:
    """Open-MAGVIT2's terms from the dense softmax."""
    p_NK = (2 * z_ND @ codebook_KD.t() / temperature).softmax(1)
    mean_K = p_NK.mean(0)
    sample, batch = -(p_NK * p_NK.clamp_min(1e-30).log()).sum(1).mean(), -(mean_K * (mean_K + 1e-5).log()).sum()
    return {'commitment': 0.25 * F.mse_loss(z_ND, z_ND.sign()), 'entropy': 0.1 * (0.5 * sample - 2 * batch)}


def test_groups_pooled_are_wetoks_rule():
    """Each group is a code; soft choices of all groups and positions have one entropy each and one mean choice together."""
    z = latents().requires_grad_()
    quantizer = lfq(True, codebook_size=16, groups=2, pool_groups=True, temperature=0.5)
    output = quantizer(z)
    groups_MC = vectors(z).reshape(-1, 4)  # of each position the first group, then the second
    p_MK = (2 * groups_MC @ quantizer.codebook().t() / 0.5).softmax(1)
    mean_K = p_MK.mean(0)
    sample, batch = -(p_MK * p_MK.log()).sum(1).mean(), -(mean_K * (mean_K + 1e-5).log()).sum()
    expected = {'commitment': 0.25 * F.mse_loss(z, z.sign()), 'entropy': 0.1 * (sample - batch)}
    torch.testing.assert_close(output.losses, expected, rtol=1e-5, atol=1e-6)
    got, wanted = (
        torch.autograd.grad(sum(terms.values()), z, retain_graph=True)[0] for terms in (output.losses, expected)
    )
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-6)
    bits = (groups_MC > 0).long() @ torch.tensor([1, 2, 4, 8])
    assert torch.equal(output.codes.indices_BL.flatten(), bits)


@pytest.mark.parametrize('scale', [1.0, 0.5])
def test_losses_are_those_of_the_dense_softmax(scale: float):
    z = latents().requires_grad_()
    quantizer = lfq(True, temperature=0.7, sample_weight=0.5, batch_weight=2.0, codebook_scale=scale)
    losses = quantizer(z).losses
    expected = naive_losses(vectors(z), quantizer.codebook(), 0.7)
    expected['commitment'] = 0.25 * F.mse_loss(z, scale * z.sign())
    torch.testing.assert_close(losses, expected, rtol=1e-5, atol=1e-6)
    got, wanted = (torch.autograd.grad(sum(terms.values()), z, retain_graph=True)[0] for terms in (losses, expected))
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-6)


def test_terms_of_weight_zero_are_not_computed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(LFQ, 'entropies', lambda *_: pytest.fail('computed'))
    assert list(lfq(True, entropy_weight=0.0)(latents()).losses) == ['commitment']
    assert not lfq(True, entropy_weight=0.0, commitment_weight=0.0)(latents()).losses


def test_gradient_of_the_decoder_reaches_the_latent_unchanged():
    z, gradient = latents().requires_grad_(), latents()
    lfq(True)(z).z_q_BDHW.backward(gradient)
    assert torch.equal(z.grad, gradient)


@torch.no_grad()
def test_projection_is_a_linear_map_before_and_after_the_signs():
    quantizer, z = lfq(codebook_size=16, code_dim=8), latents()
    expected = quantizer.project_out(torch.where(quantizer.project_in(vectors(z)) > 0, 1.0, -1.0))
    for mode in (True, False):
        torch.testing.assert_close(vectors(quantizer.train(mode)(z).z_q_BDHW), expected)


@torch.no_grad()
def test_training_forward_never_builds_the_codebook(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(LFQ, 'codebook', lambda _: pytest.fail('built'))
    output = lfq(True, codebook_size=2**18)(latents(dim=18))
    assert output.losses['entropy'].isfinite()
    assert output.codes.layout == CodeLayout(Grid(4, 6), 2**18)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(codebook_size=100), 'power of 2'),
        (dict(codebook_size=256.0), 'power of 2'),
        (dict(entropy_weight=-1.0), 'weights must be 0 or more'),
        (dict(temperature=0.0), 'temperature and codebook_scale above 0'),
        (dict(factorized_bits=(3, 4)), r'tokens of \(3, 4\) channels do not make up 8'),
        (dict(order='middle'), "'little' or 'big', got 'middle'"),
        (dict(code_dim=9, project=False), 'need a projection to code_dim 9'),
        (dict(groups=0), '1 or more groups'),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str):
    with pytest.raises(UserError, match=message):
        lfq(**options)


def test_sub_tokens_of_another_split_are_refused():
    codes = lfq(factorized_bits=(3, 5))(latents()).codes
    with pytest.raises(UserError, match='LFQ: cannot embed Grid'):
        lfq(factorized_bits=(5, 3)).embed(codes)
    with pytest.raises(UserError, match='codes must lie in'):
        lfq(factorized_bits=(3, 5)).embed(Codes(torch.full((1, 2), 8), CodeLayout(Grid(1, 1), (8, 32))))


def test_fold_takes_no_label():
    with pytest.raises(UserError, match='LFQ has no classes'):
        lfq().fold(3)
