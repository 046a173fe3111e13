"""The search's kernels in Triton's interpreter; `test_search_kernels` runs this file."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from triton.runtime import interpreter

from fvq_core.errors import NonFiniteError
from fvq_core.ops import nearest_code as door
from fvq_core.ops.search import two_pass
from fvq_core.ops.search.two_pass import two_pass_search

from .search_cases import CASES, best_by_definition, clusters, normal
from .truncating import truncating_dot

# NumPy, in which the interpreter computes, warns of what a GPU does without a word.
pytestmark = pytest.mark.filterwarnings('ignore::RuntimeWarning')


@pytest.fixture(autouse=True)
def float16_for_few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(two_pass, 'HALF_ROWS', 1)


@pytest.fixture
def tensor_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products of float16 as a tensor core that rounds toward zero sums them; the other tests have NumPy's."""
    builder, before = interpreter.InterpreterBuilder, interpreter.InterpreterBuilder.create_dot

    def create_dot(self: Any, a: Any, b: Any, d: Any, *options: Any) -> Any:
        if a.data.dtype != np.float16:
            return before(self, a, b, d, *options)
        return interpreter.TensorHandle(truncating_dot(a.data, b.data, d.data, 8), d.dtype.scalar)

    monkeypatch.setattr(builder, 'create_dot', create_dot)


@pytest.mark.usefixtures('tensor_core')
@pytest.mark.parametrize('distance', ['l2', 'dot'])
@pytest.mark.parametrize('name', CASES)
def test_choice_is_the_definitions(name: str, distance: str) -> None:
    z, codes = CASES[name](8, 140, 20)
    assert torch.equal(two_pass_search(z, codes, distance)[0], best_by_definition(z, codes, distance))


@pytest.mark.usefixtures('tensor_core')
def test_the_trap_of_many_channels() -> None:
    for name in ('bfloat16 trap', 'bfloat16 sharp trap', 'float16 sharp trap'):
        z, codes = CASES[name](3, 130, 256)
        assert torch.equal(two_pass_search(z, codes, 'dot')[0], best_by_definition(z, codes, 'dot'))


@pytest.mark.parametrize('distance', ['l2', 'dot'])
@pytest.mark.parametrize('name', ['clusters', 'norms of every size', 'float16 sharp trap', 'shared mean', 'huge'])
def test_rows_in_doubt_are_searched_again_in_float32_and_float64(name: str, distance: str) -> None:
    z, codes = CASES[name](6, 140, 20)
    indices, stats = two_pass_search(z, codes, distance, limit=0)
    assert stats.slow_rows == 6
    assert torch.equal(indices, best_by_definition(z, codes, distance))


@pytest.mark.parametrize('distance', ['l2', 'dot'])
def test_codes_that_float32_cannot_tell_apart_cost_few_comparisons(distance: str) -> None:
    z, codes = clusters(4, 512, 20)  # in all 16 tiles
    indices, stats = two_pass_search(z, codes, distance)
    assert (stats.slow_rows, stats.candidates <= 2 * 4) == (4, True)
    assert torch.equal(indices, best_by_definition(z, codes, distance))


def test_copies_of_a_code_cost_nothing() -> None:
    z, codes = normal(4, 512, 20)
    codes[100:500] = codes[7].clone()
    indices, stats = two_pass_search(z, codes, 'l2')
    assert (stats.slow_rows, stats.candidates <= 2 * 4) == (0, True)
    assert torch.equal(indices, best_by_definition(z, codes, 'l2'))


def test_few_channels_wide_rows_chunks_and_other_types() -> None:
    for N, K, D, dtype in ((5, 130, 3, torch.float32), (4, 130, 300, torch.bfloat16), (4, 130, 20, torch.float64)):
        z, codes = (x.to(dtype) for x in normal(N, K, D))
        assert torch.equal(two_pass_search(z, codes, 'l2')[0], best_by_definition(z, codes, 'l2'))
    z, codes = normal(140, 130, 17)
    assert torch.equal(two_pass_search(z, codes, 'l2', tile_scores=1)[0], best_by_definition(z, codes, 'l2'))


def test_a_row_that_is_not_finite_gets_some_code_and_costs_only_itself() -> None:
    z, codes = normal(6, 130, 20)
    expected = best_by_definition(z, codes, 'l2')
    z[2, 3], z[4] = float('nan'), float('inf')
    indices = two_pass_search(z, codes, 'l2')[0]
    assert torch.equal(indices[[0, 1, 3, 5]], expected[[0, 1, 3, 5]])
    assert 0 <= indices.min() <= indices.max() < 130


def test_the_door_takes_the_kernels_and_refuses_as_before() -> None:
    assert door.KERNEL.enabled(torch.device('cpu'))
    z, codes = normal(6, 130, 20)
    indices, stats = door.search(z, codes)
    assert torch.equal(indices, best_by_definition(z, codes, 'l2'))
    assert stats.candidates >= 6, 'tiles are counted, of which each row keeps one at least'
    assert not door.KERNEL.failed
    z[2, 3] = float('nan')
    with pytest.raises(NonFiniteError, match='vector 2 of 6'):
        door.nearest_code(z, codes)
    assert door.search(z[:0], codes)[0].shape == (0,)
