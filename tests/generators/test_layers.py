"""The blocks that transformers over codes share."""

from __future__ import annotations

import pytest
import torch

from fvq_core.errors import UserError
from fvq_generators.layers import (
    Attention,
    BidirectionalAttention,
    DropPath,
    KVCache,
    Linear,
    RMSNorm,
    SwiGLU,
    grid_rotations,
    rotate,
    sequence_rotations,
    with_condition_rows,
)
from fvq_generators.layers.swiglu import swiglu_width


def test_rotation_is_a_product_of_complex_numbers():
    x, table = torch.randn(2, 5, 3, 8), sequence_rotations(5, 8)
    angles = torch.arange(5.0)[:, None] * 10000.0 ** (-torch.arange(0, 8, 2) / 8)
    numbers = torch.view_as_complex(x.unflatten(-1, (-1, 2)))
    turned = torch.view_as_real(numbers * torch.polar(torch.ones_like(angles), angles)[:, None]).flatten(-2)
    torch.testing.assert_close(rotate(x, table), turned)


def test_scores_of_rotated_queries_and_keys_depend_only_on_offsets_on_the_grid():
    height, width = 3, 5
    table = grid_rotations(height, width, 8)
    q, k = torch.randn(8), torch.randn(8)
    turned_q, turned_k = (rotate(v.expand(1, height * width, 1, 8), table)[0, :, 0] for v in (q, k))
    scores = (turned_q @ turned_k.t()).view(height, width, height, width)
    torch.testing.assert_close(scores[0, 0, 1, 2], scores[1, 2, 2, 4])
    torch.testing.assert_close(scores[2, 3, 0, 1], scores[2, 4, 0, 2])
    assert not torch.isclose(scores[0, 0, 0, 2], scores[0, 0, 2, 0])  # rows and columns are told apart


def test_condition_rows_make_zero_vectors():
    table = with_condition_rows(sequence_rotations(4, 8), 3)
    assert table.shape == (7, 4, 2)
    turned = rotate(torch.randn(1, 7, 2, 8), table)
    assert turned[:, :3].abs().max() == 0
    assert turned[:, 3:].abs().min() > 0


@pytest.mark.parametrize('table', [lambda: grid_rotations(2, 2, 6), lambda: sequence_rotations(4, 5)])
def test_a_head_that_cannot_be_paired_is_refused(table):
    with pytest.raises(UserError, match='change dim or heads'):
        table()


def test_rms_norm_follows_its_formula_and_computes_in_float32():
    norm, x = RMSNorm(16, eps=1e-5), torch.randn(2, 3, 16)
    torch.nn.init.normal_(norm.weight)
    torch.testing.assert_close(norm(x), x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * norm.weight)
    large = torch.full((1, 16), 1e20, dtype=torch.bfloat16)  # its square overflows float32's range no more than x does
    half = RMSNorm(16).bfloat16()(large / 1e10)
    torch.testing.assert_close(half, torch.ones_like(half))


def test_swiglu_is_a_gated_product_of_the_published_width():
    assert [swiglu_width(dim) for dim in (768, 1024, 1280, 1536, 3200)] == [2048, 2816, 3584, 4096, 8704]
    assert swiglu_width(64, 256, 1.3) == 256
    layer, x = SwiGLU(8, 12), torch.randn(2, 3, 8)
    gate, up = layer.gate_up.weight[:12], layer.gate_up.weight[12:]
    torch.testing.assert_close(layer(x), (torch.nn.functional.silu(x @ gate.t()) * (x @ up.t())) @ layer.out.weight.t())


def test_drop_path_leaves_out_whole_samples_and_keeps_the_mean():
    layer, x = DropPath(0.25).train(), torch.ones(4000, 2, 3)
    out = layer(x).flatten(1)
    assert torch.equal(out.min(1).values, out.max(1).values)
    assert sorted(set(out[:, 0].tolist())) == [0.0, pytest.approx(4 / 3)]
    assert out.mean().item() == pytest.approx(1.0, abs=0.05)
    assert torch.equal(layer.eval()(x), x)


def test_grouped_queries_equal_keys_and_values_repeated_for_each_head():
    grouped, full = Attention(32, 8, kv_heads=2), Attention(32, 8)
    q, k, v = grouped.qkv.weight.split([32, 8, 8])
    repeated = [part.view(2, 4, 32).repeat_interleave(4, dim=0).flatten(0, 1) for part in (k, v)]
    full.load_state_dict({'qkv.weight': torch.cat([q, *repeated]), 'out.weight': grouped.out.weight})
    x, table = torch.randn(2, 6, 32), sequence_rotations(6, 4)
    torch.testing.assert_close(grouped(x, table, causal=True), full(x, table, causal=True))


@pytest.mark.parametrize('sizes', [dict(heads=5), dict(heads=8, kv_heads=3), dict(heads=0)])
def test_heads_that_do_not_divide_are_refused(sizes):
    with pytest.raises(UserError, match='heads must divide dim'):
        Attention(32, **sizes)


def test_the_cache_gives_back_what_it_was_given_in_either_way():
    cache = KVCache(2, 3, 2, 5, 4)
    k, v = torch.randn(2, 3, 2, 4, 4)
    keys, values = cache.append(1, k[:, :, :3], v[:, :, :3], 0)
    assert keys.shape == (3, 2, 3, 4)
    keys, values = cache.append(1, k[:, :, 3:], v[:, :, 3:], torch.tensor([3]))
    assert keys.shape == (3, 2, 5, 4)
    assert torch.equal(keys[:, :, :4], k)
    assert torch.equal(values[:, :, :4], v)
    assert cache.keys[0].abs().max() == 0
    assert cache.nbytes == 2 * 2 * 3 * 2 * 5 * 4 * 4
    with pytest.raises(UserError, match='positions 4 to 5 are wanted and there are 5'):
        cache.check_room(4, 2)


@pytest.mark.parametrize('normalize_qk', [False, True])
def test_bidirectional_attention_follows_its_formula_also_if_heads_do_not_divide_the_channels(normalize_qk: bool):
    attention, x = BidirectionalAttention(16, 3, normalize_qk=normalize_qk), torch.randn(2, 7, 16)
    q, k, v = attention.qkv(x).unflatten(-1, (3, 15)).unbind(2)  # 3 heads of 5 channels
    if normalize_qk:
        q, k = (each / (each.square().mean(-1, keepdim=True) + 1e-5).sqrt() for each in (q, k))
    q, k, v = (each.unflatten(-1, (3, 5)) for each in (q, k, v))
    weights = (torch.einsum('blhd,bmhd->bhlm', q, k) / 5**0.5).softmax(-1)
    expected = attention.out(torch.einsum('bhlm,bmhd->blhd', weights, v).flatten(2))
    torch.testing.assert_close(attention(x), expected)
    with pytest.raises(UserError, match='head_channels must be 1 or more'):
        BidirectionalAttention(16, 17)


@pytest.mark.parametrize('bias', [True, False])
@pytest.mark.parametrize('shape', [(8, 8), (8, 24), (24, 8)])
def test_a_linear_map_of_few_rows_is_the_same_map(shape: tuple[int, int], bias: bool, monkeypatch: pytest.MonkeyPatch):
    torch.manual_seed(0)
    layer = Linear(*shape, bias=bias)
    turned: list[int] = []
    product = torch.mm
    monkeypatch.setattr(torch, 'mm', lambda weight, x: turned.append(x.shape[1]) or product(weight, x))
    for lead in ((1,), (2,), (2, 1), (1, 4), (5,), (2, 3), (0,)):
        x = torch.randn(*lead, shape[0])
        expected = torch.nn.functional.linear(x, layer.weight, layer.bias)
        with torch.no_grad():
            got = layer(x)
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)
        assert got.is_contiguous()
        assert torch.equal(layer(x), expected)  # with gradients as torch computes it
    assert turned == ([2, 2, 4] if shape[1] >= shape[0] else [])
