"""The kernels of the search on a GPU: the definition's choice for every data that the search has trouble with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from fvq_core.ops.kernels import switch
from fvq_core.ops.nearest_code import KERNEL, nearest_code, search

from ..core.search_cases import CASES, best_by_definition, normal
from . import test_search

pytestmark = pytest.mark.gpu
DEVICE = torch.device('cuda')
Distance = pytest.mark.parametrize('distance', ['l2', 'dot'])


@pytest.fixture(autouse=True)
def kernels_run(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A kernel that falls back would pass for one that works."""
    monkeypatch.setenv('FVQ_KERNELS', 'all')
    switch.cache_clear()
    assert KERNEL.enabled(DEVICE)
    yield
    assert not KERNEL.failed
    switch.cache_clear()


@Distance
@pytest.mark.parametrize('name', CASES)
@pytest.mark.parametrize(('N', 'K', 'D'), [(300, 200, 4), (300, 200, 64), (40, 129, 257)])
def test_choice_is_the_definitions(name: str, distance: Any, N: int, K: int, D: int) -> None:
    z, codebook = CASES[name](N, K, D)
    expected = best_by_definition(z, codebook, distance)
    assert torch.equal(nearest_code(z.to(DEVICE), codebook.to(DEVICE), distance).cpu(), expected)
    assert torch.equal(nearest_code(z[5:6].to(DEVICE), codebook.to(DEVICE), distance).cpu(), expected[5:6])


@Distance
def test_choice_is_that_of_the_cpu_for_many_codes(distance: Any) -> None:
    z, codebook = normal(1000, 20000, 256)
    codebook[10000:] = codebook[:10000]
    codebook[:40] += 1e-6 * codebook[40:80]
    got, stats = search(z.to(DEVICE), codebook.to(DEVICE), distance)
    assert torch.equal(got.cpu(), nearest_code(z, codebook, distance))
    assert stats.candidates >= 1000, 'tiles are counted, of which each row keeps one at least'
    assert 0 <= stats.slow_rows <= 1000


@Distance
def test_neither_tf32_nor_autocast_changes_a_code(distance: Any) -> None:
    test_search.check_precision(distance)


@Distance
def test_two_gib_of_scores_are_never_there_at_once(distance: Any) -> None:
    test_search.check_memory(distance)
