"""The operators of decoding: what they compute, what tracing sees of them, and their kernels without a GPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fvq_generators.ops import few_rows
from fvq_generators.ops.decode_attention import decode_attention
from fvq_generators.ops.draw import draw_token
from fvq_generators.ops.projection import guided_logits, project, project_qkv
from fvq_generators.sampling import Sampler, filter_logits, uniforms
from tests.triton_interpreter import run_interpreted

from .draw_cases import FILTERS, logits_with_ties
from .references import attention, normalized, qkv
from .tiny import tiny_generator


def operands(rows: int = 3) -> dict[str, Any]:
    H, KV, HD, D, T = 4, 2, 6, 24, 9
    sizes = dict(x=(rows, D), weight=((H + 2 * KV) * HD, D), gain=(D,), keys=(2, rows, KV, T, HD), q=(rows, H, HD))
    given: dict[str, Any] = {name: torch.randn(size) for name, size in sizes.items()}
    angles = torch.randn(HD // 2)
    return given | dict(
        values=torch.randn_like(given['keys']),
        residual=torch.randn(rows, len(given['weight'])),
        table=torch.stack([angles.cos(), angles.sin()], dim=-1),
        position=torch.tensor([5]),
        visible=torch.rand(rows, T + 1) < 0.5,
    )


def test_tracing_sees_what_operators_do():
    of = operands(4)
    x, weight, gain, position = of['x'], of['weight'], of['gain'], of['position']
    check: Any = torch.library.opcheck
    for residual, gated in ((of['residual'], False), (None, True)):
        check(project, (x, weight, gain, 1e-5, residual, gated))
    for table in (of['table'], None):
        check(project_qkv, (x, weight, gain, 1e-5, table, position, of['keys'], of['values'], 1))
    for visible in (of['visible'], None):
        check(decode_attention, (of['q'], of['keys'], of['values'], position, visible, 1))
    for scale in (torch.tensor([2.0]), None):
        check(guided_logits, (x, gain, 1e-5, weight, scale))
    check(draw_token, (x, uniforms(range(4), 1)[:, 0], 0.9, 5, 0.8))


def test_plain_formulations_are_those_of_float64():
    of = operands()
    x, weight, gain, position = of['x'], of['weight'], of['gain'], of['position']

    def same(got: Tensor, expected: Tensor) -> None:
        torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-5)

    product = normalized(x, gain) @ weight.double().T
    same(project(x, weight, gain, 1e-5, of['residual'], False), product + of['residual'].double())
    gate, up = product.chunk(2, -1)
    same(project(x, weight, gain, 1e-5, None, True), gate * gate.sigmoid() * up)
    same(guided_logits(torch.cat([x, -x]), gain, 1e-5, weight, torch.tensor([1.5])), 2 * product)
    q, k, v = qkv(x, weight, gain, of['table'], 4, 2)
    same(project_qkv(x, weight, gain, 1e-5, of['table'], position, of['keys'], of['values'], 1), q)
    same(of['keys'][1, :, :, 5], k)
    same(of['values'][1, :, :, 5], v)
    got = decode_attention(of['q'], of['keys'], of['values'], position, of['visible'], 1)
    same(got, attention(of['q'], of['keys'][1], of['values'][1], 5, of['visible']))


@pytest.mark.parametrize('filters', FILTERS, ids=str)
def test_integers_draw_what_the_sampler_draws(filters: tuple[float, int, float]):
    logits = torch.randn(4000, 300) * 2
    numbers = torch.rand(4000, dtype=torch.float64)
    assert torch.equal(draw_token(logits, numbers, *filters), Sampler(*filters)(logits, numbers))


def test_integers_draw_by_exact_arithmetic():
    """Weights of 1, 1/2, 1/4 and 0: borders at 4/7, 6/7 and 1."""
    logits = torch.tensor([1.0, 0.5, 0.25, 0.0]).log().expand(6, 4)
    near = 1e-7  # more than float32 moves the logits
    borders = [0.0, 4 / 7 - near, 4 / 7 + near, 6 / 7 - near, 6 / 7 + near, 1 - 2.0**-53]
    assert draw_token(logits, torch.tensor(borders, dtype=torch.float64), 1.0, 0, 1.0).tolist() == [0, 0, 1, 1, 2, 2]
    equal = torch.zeros(5, 10)  # the first of what ties are kept: those before which no more than 0.35 lies
    numbers = torch.tensor([0.0, 0.25, 0.5, 0.75, 1 - 2.0**-53], dtype=torch.float64)
    assert draw_token(equal, numbers, 1.0, 0, 0.35).tolist() == [0, 1, 2, 3, 3]


def test_what_filters_leave_out_is_not_drawn():
    logits = logits_with_ties(100)
    for temperature, top_k, top_p in FILTERS:
        kept = filter_logits(logits / temperature, top_k, top_p).isfinite()
        if top_p < 1.0:  # sorting leaves open which of the tokens on the edge are kept
            kept |= logits == logits.masked_fill(~kept, torch.inf).amin(-1, keepdim=True)
        for number in torch.linspace(0, 1 - 1e-9, 50).double():
            tokens = draw_token(logits, number.expand(8), temperature, top_k, top_p)
            assert kept.gather(1, tokens[:, None]).all()


def test_without_the_switch_nothing_is_fused(monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: Any) -> Any:
        raise AssertionError('an operator was called')

    for module, name in (
        ('cached_generator', 'guided_logits'),
        ('layers.transformer_block', 'project'),
        ('sampling', 'draw_token'),
    ):
        monkeypatch.setattr(f'fvq_generators.{module}.{name}', refuse)
    generator = tiny_generator()
    assert len(generator.sample(torch.tensor([1, 2]), seeds=[1, 2], cfg_scale=2.0)) == 2
    monkeypatch.setattr('fvq_generators.cached_generator.runs_fused', lambda *_: True)
    with pytest.raises(AssertionError, match='an operator was called'):
        generator.sample(torch.tensor([1, 2]), seeds=[1, 2], cfg_scale=2.0)


def test_operators_in_a_compiled_step_copy_no_cache(monkeypatch: pytest.MonkeyPatch):
    """Plain formulations stand in for kernels; compiled code calls operators with the cache itself."""
    monkeypatch.setattr('fvq_generators.cached_generator.runs_fused', lambda *_: True)
    generator = tiny_generator(depth=1)  # each block is compiled alike
    seen: set[int] = set()
    index_copy = Tensor.index_copy_

    def watched(self: Tensor, *args: Any) -> Tensor:
        seen.add(self.untyped_storage().data_ptr())
        return index_copy(self, *args)

    monkeypatch.setattr(Tensor, 'index_copy_', watched)
    options: dict[str, Any] = dict(seeds=[1, 2], cfg_scale=2.0)
    compiled = generator.sample(torch.tensor([1, 2]), compile='inductor', **options).indices_BL
    assert generator.static_steps is not None
    (cache,) = generator.static_steps.caches.values()
    assert seen == {cache.keys.untyped_storage().data_ptr(), cache.values.untyped_storage().data_ptr()}
    monkeypatch.undo()
    assert torch.equal(compiled, generator.sample(torch.tensor([1, 2]), **options).indices_BL)


@pytest.mark.processes
def test_kernels_in_the_interpreter():
    run_interpreted('generators/interpreted_kernels.py', '-x')


def test_kernels_are_left_out_under_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    """They compute in the type of the weights, the fallback in that of autocast."""
    monkeypatch.setattr(few_rows.STEP, 'enabled', lambda device: True)
    assert few_rows.runs_fused('cpu', None, torch.float32)
    with torch.autocast('cpu', torch.bfloat16):
        assert not few_rows.runs_fused('cpu', None, torch.float32)
