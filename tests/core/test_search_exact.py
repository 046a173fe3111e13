"""The search's choice is the definition's, bit for bit: lowest index of the best in float64, whatever float32 makes of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.search import by_all_pairs, by_definition
from fvq_core.errors import NonFiniteError
from fvq_core.ops.nearest_code import nearest_code, search
from fvq_core.ops.search import decide
from fvq_core.ops.search.rescore import first_of_equal, rescore

from .search_cases import CASES, badness, best_by_definition, normal

Distance: Any = pytest.mark.parametrize('distance', ['l2', 'dot'])


@Distance
@pytest.mark.parametrize('name', CASES)
@pytest.mark.parametrize(('N', 'K', 'D'), [(60, 200, 4), (40, 129, 64), (24, 64, 257)])
def test_choice_is_the_definitions(name: str, distance: Any, N: int, K: int, D: int) -> None:
    z_ND, codebook_KD = CASES[name](N, K, D)
    expected = best_by_definition(z_ND, codebook_KD, distance)
    assert torch.equal(nearest_code(z_ND, codebook_KD, distance), expected)
    assert torch.equal(nearest_code(z_ND, codebook_KD, distance, max_scores=7 * K + 1), expected)
    assert torch.equal(nearest_code(z_ND[5:6], codebook_KD, distance), expected[5:6])


@settings(deadline=None, max_examples=60)
@given(
    name=st.sampled_from(sorted(CASES)),
    distance=st.sampled_from(['l2', 'dot']),
    N=st.integers(2, 12),
    K=st.integers(1, 140),
    D=st.integers(1, 70),
    dtype=st.sampled_from([torch.float64, torch.float32, torch.bfloat16]),
)
def test_any_size_and_type(name: str, distance: Any, N: int, K: int, D: int, dtype: torch.dtype) -> None:
    z_ND, codebook_KD = (x.to(dtype) for x in CASES[name](N, K, D))
    assert torch.equal(nearest_code(z_ND, codebook_KD, distance), best_by_definition(z_ND, codebook_KD, distance))


@Distance
def test_float32_by_itself_fails_where_the_search_does_not(distance: str) -> None:
    for name in ('uniform +-1/K', 'shared mean', 'nearly equal codes'):
        z, codes = CASES[name](60, 200, 64)
        plain_product = z @ codes.t() - (codes.square().sum(1) / 2 if distance == 'l2' else 0)
        if not torch.equal(plain_product.argmax(1), best_by_definition(z, codes, distance)):
            return
    pytest.fail('the data no longer shows what is tested')


@Distance
def test_rescoring_has_the_same_bits_for_any_shape_of_the_call(distance: str) -> None:
    z, codes = normal(50, 50, 100)
    whole = rescore(z, codes, distance)
    assert torch.equal(whole, torch.cat([rescore(z[i : i + 1], codes[i : i + 1], distance) for i in range(50)]))
    assert torch.equal(whole, torch.from_numpy(badness(z, codes, distance)).diagonal())


def test_only_rows_in_doubt_are_slow() -> None:
    z, codes = normal(500, 400, 64)
    assert search(z, codes)[1].slow_rows <= 2
    stats = search(z, torch.cat([codes, codes]))[1]
    assert stats.slow_rows == 500
    assert 1000 <= stats.candidates <= 1004
    assert search(z[:0], codes)[1].slow_rows == 0


@Distance
@pytest.mark.parametrize('far', [1, 16, 17])
def test_far_codes_leave_no_doubt_about_the_others(distance: str, far: int) -> None:
    z, codes = normal(500, 256, 64)
    codes[::15][:far] *= 1e6
    indices, stats = search(z, codes, distance)
    assert stats.candidates <= (20 if far <= 16 else 1500), 'each row keeps its best, and few others'
    assert torch.equal(indices, best_by_definition(z, codes, distance))


def test_equal_codes_are_compared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    z, codes = normal(30, 40, 8)
    codes = codes[torch.arange(2000) % 40]
    assert torch.equal(first_of_equal(codes), torch.arange(2000) % 40)
    compared = []

    def counted(z: Any, codebook: Any, rows: Any, *rest: Any) -> Any:
        compared.append(len(rows))
        return best(z, codebook, rows, *rest)

    best = decide.best_of_pairs
    monkeypatch.setattr(decide, 'best_of_pairs', counted)
    assert torch.equal(nearest_code(z, codes), best_by_definition(z, codes, 'l2'))
    assert sum(compared) < 40


@Distance
@pytest.mark.parametrize('name', CASES)
def test_the_benchmarks_reference_is_the_definition(name: str, distance: str) -> None:
    z, codes = CASES[name](24, 129, 40)
    expected = best_by_definition(z, codes, distance)
    assert torch.equal(by_definition(z, codes, distance, values=1000), expected)
    assert torch.equal(by_all_pairs(z, codes, distance), expected)


def test_huge_codes_are_searched_by_product_and_refused_by_distance() -> None:
    z, codes = normal(20, 30, 8)
    assert torch.equal(nearest_code(z, 1e30 * codes, 'dot'), best_by_definition(z, 1e30 * codes, 'dot'))
    with pytest.raises(NonFiniteError, match='squares overflow'):
        nearest_code(z, 1e30 * codes)


@Distance
def test_compiled_search_is_the_same_in_one_graph(distance: Any) -> None:
    z, codes = CASES['ties by halves'](60, 200, 16)
    compiled = torch.compile(lambda a, b: nearest_code(a, b, distance) + 1, backend='aot_eager', fullgraph=True)
    assert torch.equal(compiled(z, codes), nearest_code(z, codes, distance) + 1)
