"""VQBridge: patches, mixing, starting scale, size, and what it refuses."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fvq_core.errors import UserError
from fvq_core.registry import PROJECTORS
from fvq_quantizers import VectorQuantizer

from .matrix import latents

patchings = pytest.mark.parametrize('patching', ['sequence', 'grid'])


def bridge(K: int = 16, D: int = 8, **options: Any) -> nn.Module:
    return PROJECTORS.build(dict(type='VQBridge', patch_size=4, **options), codebook_size=K, code_dim=D)


@patchings
def test_unpatchify_undoes_patchify_and_every_code_is_whole_in_one_token(patching: str):
    projector, codebook_KD = bridge(64, 8, patching=patching), torch.arange(64.0 * 8).view(64, 8)
    tokens = projector.patchify(codebook_KD)
    assert tokens.shape == (16, 4 * 8)
    assert torch.equal(projector.unpatchify(tokens), codebook_KD)
    assert {tuple(code) for code in tokens.view(64, 8).tolist()} == {tuple(code) for code in codebook_KD.tolist()}


def test_sequence_tokens_are_consecutive_codes_and_grid_tokens_are_square_patches():
    codes = torch.arange(16.0).view(16, 1).expand(16, 4)
    sequence = bridge(16, 4).patchify(codes).view(4, 4, 4)[..., 0]
    assert sequence.tolist() == torch.arange(16.0).view(4, 4).tolist()
    grid = bridge(16, 4, patching='grid').patchify(codes).view(4, 4, 4)[..., 0]
    assert grid.tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]


@patchings
def test_every_mapped_code_depends_on_every_raw_code(patching: str):
    projector, codebook_KD = bridge(16, 8, patching=patching, output_scale=1.0), torch.randn(16, 8).requires_grad_()
    mapped = projector(codebook_KD)
    for k in range(16):
        (gradient,) = torch.autograd.grad(mapped[k, k % 8], codebook_KD, retain_graph=True)
        assert (gradient.abs().sum(1) > 0).all(), f'code {k} ignores some codes'


def test_tokens_have_no_position():
    projector, codebook_KD = bridge(16, 8, output_scale=1.0), torch.randn(16, 8)
    order = torch.randperm(4)
    shuffled = codebook_KD.view(4, 4, 8)[order].reshape(16, 8)
    torch.testing.assert_close(projector(shuffled).view(4, 4, 8), projector(codebook_KD).view(4, 4, 8)[order])
    within = codebook_KD.view(4, 4, 8)[:, [1, 0, 2, 3]].reshape(16, 8)
    assert not torch.allclose(projector(within), projector(codebook_KD), atol=1e-3)


def test_compression_norm_makes_the_bridge_blind_to_the_scale_of_the_codebook():
    codebook_KD = torch.randn(16, 8)
    normed, plain = (bridge(output_scale=1.0, compression_norm=on) for on in (True, False))
    torch.testing.assert_close(normed(codebook_KD), normed(100 * codebook_KD), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(plain(codebook_KD), plain(100 * codebook_KD), atol=1e-2)


def test_zero_output_scale_starts_with_equal_codes_and_no_gradient_to_the_raw_codebook():
    quantizer = VectorQuantizer(16, 8, projector=dict(type='VQBridge', patch_size=4, output_scale=0.0)).train()
    assert torch.equal(quantizer.codebook(), torch.zeros(16, 8))
    sum(quantizer(latents()).losses.values()).backward()
    assert quantizer.embedding.grad.abs().sum() == 0
    assert quantizer.projector.expand.weight.grad.abs().sum() > 0


@settings(deadline=None, max_examples=10)
@given(st.floats(0.01, 4.0))
def test_output_scale_multiplies_the_starting_codes(scale: float):
    codebook_KD = torch.randn(16, 8)
    torch.manual_seed(1)
    one = bridge(output_scale=1.0)(codebook_KD)
    torch.manual_seed(1)
    torch.testing.assert_close(bridge(output_scale=scale)(codebook_KD), scale * one)


@pytest.mark.parametrize(('depth', 'hidden', 'ratio'), [(2, 8, 2.0), (1, 12, 3.0), (3, 16, 2.0)])
def test_number_of_parameters_is_the_closed_form(depth: int, hidden: int, ratio: float):
    p, D = 4, 8
    projector = bridge(16, D, depth=depth, hidden_dim=hidden, mlp_ratio=ratio)
    maps = 2 * p * D * hidden + hidden + p * D
    attention = 4 * hidden**2 + 4 * hidden  # qkv and output with biases; the norms have no weights
    mlp = 2 * ratio * hidden**2 + (ratio + 1) * hidden
    assert sum(q.numel() for q in projector.parameters()) == maps + depth * (attention + mlp)


def test_fused_attention_and_plain_products_agree():
    projector, codebook_KD = bridge(output_scale=1.0), torch.randn(16, 8)
    projector.fuse_attention(True)
    fused = projector(codebook_KD)
    projector.fuse_attention(False)
    torch.testing.assert_close(projector(codebook_KD), fused)


def test_patch_size_that_does_not_divide_names_the_nearest_divisors():
    with pytest.raises(UserError, match='32768 is not a multiple of patch_size 48; choose a divisor such as 32 or 64'):
        PROJECTORS.build(dict(type='VQBridge', patch_size=48), codebook_size=32768, code_dim=8)
    with pytest.raises(UserError, match='multiple of patch_size 0'):
        PROJECTORS.build(dict(type='VQBridge', patch_size=0), codebook_size=16, code_dim=8)


@pytest.mark.parametrize(('K', 'p'), [(32, 4), (16, 2), (36, 9), (36, 4), (16, 16), (100, 16)])
def test_grid_needs_a_square_codebook_in_square_patches(K: int, p: int):
    side, patch = math.sqrt(K), math.sqrt(p)
    fits = side % 1 == 0 and patch % 1 == 0 and side % patch == 0
    config = dict(type='VQBridge', patch_size=p, patching='grid')
    if fits:
        projector, codes = PROJECTORS.build(config, codebook_size=K, code_dim=8), torch.randn(K, 8)
        assert torch.equal(projector.unpatchify(projector.patchify(codes)), codes)
    else:
        with pytest.raises(UserError, match=r"VQBridge: .*(patching='sequence'|choose a divisor)"):
            PROJECTORS.build(config, codebook_size=K, code_dim=8)


def test_heads_patching_and_scale_that_cannot_be_are_refused():
    for options, message in (
        (dict(hidden_dim=10), 'hidden_dim 10 is not a multiple of num_heads 4'),
        (dict(patching='spiral'), "patching must be 'sequence' or 'grid', got 'spiral'"),
        (dict(output_scale=-1.0), 'output_scale must be 0 or more'),
    ):
        with pytest.raises(UserError, match=message):
            bridge(**options)


@pytest.mark.parametrize('positions', ['sincos', 'learned'])
@patchings
def test_positions_tell_tokens_apart(positions: str, patching: str):
    projector = bridge(positions=positions, patching=patching, output_scale=1.0)
    same = torch.ones(16, 8)
    tokens = projector.patchify(projector(same))
    assert len(tokens.unique(dim=0)) == 4
    plain = bridge(patching=patching, output_scale=1.0)
    torch.testing.assert_close(plain.patchify(plain(same)), plain.patchify(plain(same))[:1].expand(4, -1))


def test_sincos_positions_are_those_of_the_dit_bridge_and_are_not_trained():
    for patching in ('sequence', 'grid'):
        projector = bridge(64, 8, positions='sincos', patching=patching)
        config = dict(type='DiTBridge', patch_size=4, patching=patching)
        expected = PROJECTORS.build(config, codebook_size=64, code_dim=8).positions
        assert torch.equal(projector.positions, expected)
        assert 'positions' not in dict(projector.named_parameters())


def test_registers_are_seen_by_every_code_and_are_no_codes():
    projector, codebook_KD = bridge(registers=3, output_scale=1.0), torch.randn(16, 8)
    mapped = projector(codebook_KD)
    assert mapped.shape == (16, 8)
    for k in range(16):
        (gradient,) = torch.autograd.grad(mapped[k, 0], projector.registers, retain_graph=True)
        assert gradient.shape == (3, 8)
        assert (gradient.abs().sum(1) > 0).all()


def test_positions_and_registers_are_options_that_cost_nothing_when_off():
    torch.manual_seed(1)
    plain = bridge()
    torch.manual_seed(1)
    named = bridge(positions='none', registers=0)
    assert plain.state_dict().keys() == named.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), named.parameters(), strict=True))
    count = sum(p.numel() for p in plain.parameters())
    more = bridge(positions='learned', registers=5)
    assert sum(p.numel() for p in more.parameters()) == count + (4 + 5) * 8


def test_positions_and_registers_that_cannot_be_are_refused():
    for options, message in (
        (dict(positions='rotary'), "positions must be 'none', 'sincos' or 'learned', got 'rotary'"),
        (dict(registers=-1), 'registers must be 0 or more, got -1'),
        (dict(positions='sincos', hidden_dim=6, num_heads=2, patching='grid'), 'VQBridge: hidden_dim 6 is not a mult'),
    ):
        with pytest.raises(UserError, match=message):
            bridge(**options)
