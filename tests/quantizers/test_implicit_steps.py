"""Residual and multi-scale quantization around LFQ, BSQ and FSQ: Infinity's rule, bit labels, refinement, bad input."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fvq_core.codes import CodeLayout, Grid, Pyramid
from fvq_core.errors import UserError
from fvq_core.registry import QUANTIZERS

from .matrix import VECTOR, latents

SCALES = ((1, 1), (2, 3), (4, 6))
DECAYED = (1.0, 0.9, 0.8)


def infinity(bits: int = 8, train: bool = False, **options: Any) -> Any:
    inner = dict(type='BSQ', codebook_size=2**bits, **options.pop('bsq', {'bit_labels': True}))
    config = dict(type='MultiScaleQuantizer', quantizer=inner, scales=SCALES, phi_ratio=0.0, interpolation='bilinear')
    return QUANTIZERS.build({**config, **options}).train(train)


def by_hand(z: Tensor, factors: tuple[float, ...]) -> tuple[Tensor, list[Tensor]]:
    """The sum (B, D, H, W), with each scale's straight-through gradient, and the bits (B, D, h, w) of each scale.

    The residual is shrunk by area averages and put on the unit sphere; its signs / sqrt(D) are enlarged bilinearly. The
    released code enlarges trilinearly a volume of one frame.
    """
    rest, total, bits = z, torch.zeros_like(z), []
    for size, factor in zip(SCALES, factors, strict=True):
        unit = F.adaptive_avg_pool2d(rest, size)
        unit = unit / unit.norm(dim=1, keepdim=True)
        on = unit > 0
        code = torch.where(on, 1.0, -1.0) / z.shape[1] ** 0.5
        part = (code + unit - unit.detach()) * factor
        if size != SCALES[-1]:
            part = F.interpolate(part.unsqueeze(2), (1, *SCALES[-1]), mode='trilinear').squeeze(2)
        rest, total = rest - part.detach(), total + part
        bits.append(on)
    return total, bits


@pytest.mark.parametrize('factors', [(1.0, 1.0, 1.0), DECAYED])
def test_multi_scale_bsq_is_infinitys_rule_with_its_gradient(factors: tuple[float, ...]):
    z, gradient = latents(), latents()
    other = z.clone().requires_grad_()
    expected, bits = by_hand(other, factors)
    output = infinity(train=True, code_scales=None if factors == (1.0, 1.0, 1.0) else factors)(z.requires_grad_())
    torch.testing.assert_close(output.z_q_BDHW, expected)
    output.z_q_BDHW.backward(gradient)
    expected.backward(gradient)
    torch.testing.assert_close(z.grad, other.grad)
    labels = torch.cat([on.flatten(2).transpose(1, 2).flatten(1) for on in bits], 1)  # positions, then channels
    assert torch.equal(output.codes.indices_BL, labels.long())
    assert output.codes.layout == CodeLayout(Pyramid(SCALES), (2,) * 8)


def test_bits_of_a_vocabulary_beyond_any_codebook_are_embedded_again():
    """32 bits: 2^32 codes, of which no list is made."""
    quantizer, z = infinity(32), latents(dim=32)
    output = quantizer(z)
    assert quantizer.codebook().shape == (2, 1)
    assert torch.equal(quantizer.embed(output.codes), output.z_q_BDHW)
    assert quantizer.codebook_indices(output.codes).unique().tolist() == [0, 1]


def test_labels_of_bits_and_indices_are_the_same_codes():
    z, one, other = latents(), infinity(), infinity(bsq={})
    assert torch.equal(one(z).z_q_BDHW, other(z).z_q_BDHW)
    bits = one(z).codes.unflatten()
    assert torch.equal((bits * 2 ** torch.arange(8)).sum(-1), other(z).codes.indices_BL)
    for terms in zip(one.train()(z).losses.items(), other.train()(z).losses.items(), strict=True):
        (name, value), (_, expected) = terms
        torch.testing.assert_close(value, expected, msg=name)


def test_a_next_scale_generators_inputs_are_the_running_sums_shrunk():
    quantizer, z = infinity(bsq={}, code_scales=DECAYED), latents()
    codes = quantizer(z).codes
    inputs, total, start = quantizer.prefix_inputs(codes), torch.zeros_like(z), 0
    for scale, (h, w) in enumerate(SCALES):
        rows = quantizer.codebook()[codes.indices_BL[:, start : start + h * w]]
        total, given = quantizer.advance(total, rows.transpose(1, 2).unflatten(2, (h, w)), scale)
        start += h * w
        torch.testing.assert_close(total, quantizer.embed_prefix(codes, scale + 1))
        if scale < 2:
            H, W = SCALES[scale + 1]
            torch.testing.assert_close(given.flatten(2).transpose(1, 2), inputs[:, start - 1 : start - 1 + H * W])


def test_losses_are_means_over_the_steps_of_the_wrapped_rules_own():
    z = latents()
    quantizer = QUANTIZERS.build(
        dict(
            type='ResidualQuantizer', quantizer=dict(type='LFQ', codebook_size=256), depth=3, code_scales=(1, 0.5, 0.25)
        )
    ).train()
    rest, terms = z, []
    for size in (1, 0.5, 0.25):
        output = quantizer.quantizer(rest / size)
        terms.append(output.losses)
        rest = rest - size * output.z_q_BDHW.detach()
    losses = quantizer(z).losses
    for name, value in losses.items():
        torch.testing.assert_close(value, torch.stack([term[name] for term in terms]).mean())


def test_levels_of_a_depth_refine_those_of_the_depth_before():
    """With 5 levels from -1 to 1, a quarter of the size fills the gap between two of them: the error falls fourfold a depth."""
    z = torch.rand(4, 3, 8, 8) * 2 - 1
    inner = dict(type='FSQ', levels=(5, 5, 5), symmetric=True, hard_clamp=True)
    for depth in (1, 2, 3):
        sizes = [4.0**-d for d in range(depth)]
        quantizer = QUANTIZERS.build(
            dict(type='ResidualQuantizer', quantizer=inner, depth=depth, code_scales=sizes)
        ).eval()
        output = quantizer(z)
        error = (output.z_q_BDHW - z).abs().max()
        assert 0.2 * 4.0 ** (1 - depth) < error <= 0.25 * 4.0 ** (1 - depth) + 1e-6
        sums = quantizer.embed_depth(output.codes, cumulative=True)
        torch.testing.assert_close(sums[:, -1], output.z_q_BDHW)


def test_depths_without_sizes_share_the_rows_of_one_codebook():
    quantizer = QUANTIZERS.build(dict(type='ResidualQuantizer', quantizer=dict(type='BSQ', codebook_size=256), depth=3))
    codes = quantizer.eval()(latents()).codes
    assert codes.layout == CodeLayout(Grid(4, 6), (256,) * 3)
    assert quantizer.codebook().shape == (256, 8)
    assert torch.equal(quantizer.codebook_indices(codes), codes.indices_BL)


RESIDUAL: dict[str, Any] = dict(type='ResidualQuantizer', quantizer=dict(type='LFQ', codebook_size=16), depth=2)


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        (dict(code_scales=(1.0,)), 'a number above 0 for each of the 2 steps'),
        (dict(code_scales=(1.0, 0.0)), 'a number above 0'),
        (dict(code_scales=0.5), 'a number above 0'),
        (dict(quantizer=VECTOR, code_scales=(1.0, 0.5)), 'a trained codebook finds its own size'),
        (dict(shared=False), 'LFQ has one rule for all depths'),
        (dict(residual_losses=True), 'drop shared=False and residual_losses'),
        (dict(quantizer=dict(type='LFQ', codebook_size=16, code_dim=8)), 'into another space and back; drop code_dim'),
        (dict(quantizer=dict(type='FSQ', levels=(5,), symmetric=True, noise_dropout=0.5)), 'drop noise_dropout'),
        (dict(quantizer=dict(type='GumbelQuantizer', codebook_size=4, code_dim=4)), 'LFQ, BSQ, FSQ or FSP, got Gumbel'),
    ],
)
def test_what_cannot_be_summed_is_refused(config: dict[str, Any], message: str):
    with pytest.raises(UserError, match=message):
        QUANTIZERS.build({**RESIDUAL, **config})


def test_soft_codes_need_a_codebook_and_enlarging_a_known_way():
    with pytest.raises(UserError, match='no distances to soften'):
        QUANTIZERS.build(RESIDUAL).soft_codes(latents(dim=4))
    with pytest.raises(UserError, match="'bicubic' or 'bilinear', got 'nearest'"):
        infinity(interpolation='nearest')
