"""The kernels of decoding in Triton's interpreter, against float64 and against the model without them.

`test_decoding_ops.py` runs this file in a process of its own (see tests/triton_interpreter.py).
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fvq_core.ops import kernels
from fvq_generators.ops.decode_attention import decode_attention
from fvq_generators.ops.draw import DRAW, draw_token
from fvq_generators.ops.few_rows import STEP
from fvq_generators.ops.projection import guided_logits, project, project_qkv
from fvq_generators.sampling import Sampler, uniforms

from .draw_cases import FILTERS, logits_with_ties
from .references import attention, normalized, qkv
from .tiny import tiny_generator

ROUNDING = {torch.float32: 2e-6, torch.float16: 2e-3}  # of the result, relative to its largest


@pytest.fixture(autouse=True)
def no_fall_back(monkeypatch: pytest.MonkeyPatch) -> None:
    for kernel in (STEP, DRAW):
        monkeypatch.setattr(kernel, 'run', lambda launch, plain: launch())


def close(got: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(
        got.double(), expected, rtol=0, atol=ROUNDING[got.dtype] * expected.abs().max().item(), check_dtype=False
    )


@pytest.mark.parametrize(
    ('rows', 'D', 'N', 'dtype'),
    [
        (1, 64, 48, torch.float16),
        (5, 300, 62, torch.float32),
        (17, 100, 36, torch.float16),
        (40, 64, 50, torch.float32),
    ],
    ids=str,
)
def test_projections(rows: int, D: int, N: int, dtype: torch.dtype):
    x, other, weight, gain, residual = (
        torch.randn(size).to(dtype) for size in ((rows, D), (rows, D), (N, D), (D,), (rows, N))
    )
    product = normalized(x, gain) @ weight.double().T
    close(project(x, weight, gain, 1e-5, residual, False), product + residual.double())
    gate, up = (x.double() @ weight.double().T).chunk(2, -1)
    close(project(x, weight, None, 0.0, None, True), gate * gate.sigmoid() * up)
    logits = guided_logits(x, gain, 1e-5, weight, None)
    assert logits.dtype == torch.float32
    close(logits.to(dtype), product)
    without = normalized(other, gain) @ weight.double().T
    guided = guided_logits(torch.cat([x, other]), gain, 1e-5, weight, torch.tensor([1.75]))
    close(guided.to(dtype), without + 1.75 * (product - without))


@pytest.mark.parametrize(
    ('rows', 'position', 'rotated', 'dtype'),
    [
        (1, 0, True, torch.float32),
        (3, 8, False, torch.float16),
        (18, 5, True, torch.float32),
        (18, 5, True, torch.float16),
    ],
    ids=str,
)
def test_keys_and_values_go_to_their_place_and_nowhere_else(
    rows: int, position: int, rotated: bool, dtype: torch.dtype
):
    H, KV, HD, D = 4, 2, 6, 40
    x, weight, gain = (torch.randn(size).to(dtype) for size in ((rows, D), ((H + 2 * KV) * HD, D), (D,)))
    angles = torch.randn(HD // 2)
    table = torch.stack([angles.cos(), angles.sin()], dim=-1) if rotated else None
    keys, values = (torch.randn(3, rows + 2, KV, 9, HD).to(dtype) for _ in range(2))
    before = keys.clone(), values.clone()
    some = keys[:, :rows], values[:, :rows]  # the first sequences of a larger cache
    q = project_qkv(x, weight, gain, 1e-5, table, torch.tensor([position]), *some, 1)
    expected = qkv(x, weight, gain, table, H, KV)
    close(q, expected[0])
    for got, old, new in zip((keys, values), before, expected[1:], strict=True):
        close(got[1, :rows, :, position], new)
        got[1, :rows, :, position] = old[1, :rows, :, position]
        assert torch.equal(got, old)


@pytest.mark.parametrize('hidden', [False, True])
@pytest.mark.parametrize(('B', 'H', 'KV', 'HD', 'T'), [(1, 2, 2, 16, 3), (2, 4, 2, 20, 130), (2, 1, 1, 100, 65)])
def test_attention_reads_what_is_filled_and_visible(B: int, H: int, KV: int, HD: int, T: int, hidden: bool):
    for position in sorted({0, T // 2, T - 2, T - 1}):
        dtype = torch.float16 if position == T - 2 else torch.float32
        q, keys, values = (torch.randn(size).to(dtype) for size in ((B, H, HD), *[(2, B, KV, T, HD)] * 2))
        for cache in (keys, values):
            cache[:, :, :, position + 1 :] = torch.nan
        visible = torch.rand(B, T + 1) < 0.3 if hidden else None
        got = decode_attention(q, keys, values, torch.tensor([position]), visible, 1)
        close(got, attention(q, keys[1], values[1], position, visible))


@pytest.mark.parametrize(('V', 'filters'), [(5, FILTERS[3]), (70, FILTERS[1]), (70, FILTERS[4])], ids=str)
def test_draws_are_those_of_the_definition(V: int, filters: tuple[float, int, float], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr('fvq_generators.ops.draw.BLOCK', 64)
    logits, numbers = logits_with_ties(V), uniforms(range(8), 1)[:, 0]
    got = Sampler(*filters)(logits, numbers)
    monkeypatch.setattr(DRAW, 'run', lambda launch, plain: plain())
    assert torch.equal(got, draw_token(logits, numbers, *filters))


GRID = dict(layout=dict(type='Grid', height=2, width=2, codebook_size=16))
MODELS: dict[str, dict[str, Any]] = {
    'grid': GRID,
    'few heads of keys, learned positions': dict(
        layout=dict(type='Sequence', length=3, codebook_size=16), kv_heads=2, positions='learned', depth=1
    ),
    'captions': dict(**GRID, caption_dim=6, caption_tokens=4, depth=1),
}


@pytest.mark.parametrize('name', MODELS)
def test_codes_are_those_without_kernels_compiled_or_not_and_in_any_batch(name: str, monkeypatch: pytest.MonkeyPatch):
    generator = tiny_generator(**MODELS[name])
    options: dict[str, Any] = dict(cfg_scale=2.0, cfg_interval=1, top_k=10, temperature=0.9)
    cond = torch.arange(3)
    if name == 'captions':
        cond, options['caption_mask_BT'] = torch.randn(3, 4, 6), torch.ones(3, 4, dtype=torch.bool)
        options['caption_mask_BT'][1, :2] = False
    fused = generator.sample(cond, seeds=[1, 2, 3], **options).indices_BL
    compiled = generator.sample(cond, seeds=[1, 2, 3], compile='aot_eager', **options).indices_BL
    assert torch.equal(compiled, fused)
    if name == 'grid':
        assert torch.equal(generator.sample(cond[2:], seeds=[3], **options).indices_BL, fused[2:])
    monkeypatch.setattr(kernels, 'switch', lambda: 'off')
    assert torch.equal(generator.sample(cond, seeds=[1, 2, 3], **options).indices_BL, fused)
