"""Layers that a condition modulates."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fvq_generators.layers import MLP, AdaLayerNorm, AdaLNBlock, Modulation, SharedModulation

B, L, D = 2, 5, 8


def plain_norm() -> nn.Module:
    return nn.LayerNorm(D, eps=1e-6, elementwise_affine=False)


def block(modulation: nn.Module) -> AdaLNBlock:
    return AdaLNBlock(nn.Linear(D, D), MLP(D, 3 * D), plain_norm(), plain_norm(), modulation)


def test_a_block_gates_both_branches_behind_modulated_norms():
    torch.manual_seed(0)
    layer, x, cond = block(Modulation(D, cond_dim=3)), torch.randn(B, L, D), torch.randn(B, 1, 3)
    g1, g2, s1, s2, b1, b2 = layer.modulation.linear(F.silu(cond)).chunk(6, -1)
    first = x + g1 * layer.attention(plain_norm()(x) * (1 + s1) + b1)
    expected = first + g2 * layer.ffn(plain_norm()(first) * (1 + s2) + b2)
    torch.testing.assert_close(layer(x, cond), expected)
    torch.testing.assert_close(layer(x, None, parts_BL6D=layer.modulation(cond)), expected)


def test_a_condition_of_each_position_modulates_that_position_only():
    layer, x, cond = block(Modulation(D)), torch.randn(B, L, D), torch.randn(B, L, D)
    whole = layer(x, cond)
    for position in range(L):
        one = layer(x[:, [position]], cond[:, [position]])
        torch.testing.assert_close(whole[:, [position]], one)


def test_blocks_share_a_modulation_and_add_their_own_offset():
    shared, layer, x, cond = Modulation(D), block(SharedModulation(D)), torch.randn(B, L, D), torch.randn(B, 1, D)
    other = block(Modulation(D))
    other.load_state_dict(
        {key: value for key, value in layer.state_dict().items() if 'modulation' not in key}
        | {
            'modulation.linear.weight': shared.linear.weight,
            'modulation.linear.bias': shared.linear.bias + layer.modulation.offset_PD.flatten(),
        }
    )
    torch.testing.assert_close(layer(x, shared(cond)), other(x, cond))


def test_a_norm_takes_scale_and_shift_from_its_condition():
    norm, x, cond = AdaLayerNorm(plain_norm(), Modulation(D, 2)), torch.randn(B, L, D), torch.randn(B, 1, D)
    scale, shift = norm.modulation.linear(F.silu(cond)).chunk(2, -1)
    torch.testing.assert_close(norm(x, cond), F.layer_norm(x, (D,), eps=1e-6) * (1 + scale) + shift)


@pytest.mark.parametrize('approximate', ['tanh', 'none'])
def test_the_feed_forward_layer_is_two_maps_around_a_gelu(approximate: str):
    mlp, x = MLP(D, 12, approximate=approximate, bias=approximate == 'none'), torch.randn(B, L, D)
    hidden = F.linear(x, mlp.inner.weight, mlp.inner.bias)
    expected = F.linear(F.gelu(hidden, approximate=approximate), mlp.outer.weight, mlp.outer.bias)
    torch.testing.assert_close(mlp(x), expected)
    assert (mlp.inner.bias is None) == (approximate == 'tanh')
