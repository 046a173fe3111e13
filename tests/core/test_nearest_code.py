"""The codebook search: exact against float64 brute force, bounded in memory, blind to autocast."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from fvq_core.nearest_code import nearest_code

Distance = Literal['l2', 'dot']
both = pytest.mark.parametrize('distance', ['l2', 'dot'])


def scores(z_ND: Tensor, codebook_KD: Tensor, distance: Distance) -> Tensor:
    """Goodness of every code in float64, (N, K), by the definition."""
    z, e = z_ND.double(), codebook_KD.double()
    return z @ e.t() if distance == 'dot' else -(z[:, None] - e[None]).square().sum(-1)


def random_data(N: int, K: int, D: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(N, D, generator=rng), torch.randn(K, D, generator=rng)


class LargestTensor(TorchDispatchMode):
    """Records the most elements any operation's result had."""

    def __init__(self) -> None:
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor) and not func.is_view:
            self.numel = max(self.numel, out.numel())
        return out


@both
@settings(deadline=None, max_examples=25)
@given(N=st.integers(1, 40), K=st.integers(1, 60), D=st.integers(1, 12), seed=st.integers(0, 2**20))
def test_search_equals_float64_brute_force_where_codes_are_apart(distance: Distance, N: int, K: int, D: int, seed: int):
    z_ND, codebook_KD = random_data(N, K, D, seed)
    exact = scores(z_ND, codebook_KD, distance)
    best = exact.topk(min(2, K), dim=1).values
    apart = best[:, 0] - best[:, -1] > 1e-3 if K > 1 else torch.ones(N, dtype=torch.bool)
    assert torch.equal(nearest_code(z_ND, codebook_KD, distance)[apart], exact.argmax(1)[apart])


@both
def test_ties_go_to_the_lowest_index(distance: Distance):
    z_ND, codebook_KD = random_data(50, 33, 7)
    doubled = torch.cat([codebook_KD, codebook_KD, codebook_KD[:5]])
    assert torch.equal(nearest_code(z_ND, doubled, distance), nearest_code(z_ND, codebook_KD, distance))
    assert nearest_code(z_ND, torch.zeros(9, 7), distance).eq(0).all()


@both
@pytest.mark.parametrize('max_scores', [1, 20, 61, 10_000])
def test_chunking_changes_nothing(distance: Distance, max_scores: int):
    z_ND, codebook_KD = random_data(37, 20, 8)
    assert torch.equal(
        nearest_code(z_ND, codebook_KD, distance, max_scores=max_scores), scores(z_ND, codebook_KD, distance).argmax(1)
    )


def test_tiny_codes_are_told_apart_by_large_latents():
    K = 1024
    rng = torch.Generator().manual_seed(1)
    codebook_KD = torch.empty(K, 8).uniform_(-1 / K, 1 / K, generator=rng)
    z_ND = 100 * torch.randn(500, 8, generator=rng)
    exact = scores(z_ND, codebook_KD, 'l2')
    kept = z_ND.square().sum(1, keepdim=True) - 2 * z_ND @ codebook_KD.t() + codebook_KD.square().sum(1)
    assert (kept.argmin(1) != exact.argmax(1)).sum() > 5, 'the data no longer shows what is tested'
    assert torch.equal(nearest_code(z_ND, codebook_KD), exact.argmax(1))


@both
def test_autocast_and_a_low_matmul_precision_change_nothing(distance: Distance):
    z_ND, codebook_KD = random_data(200, 400, 16)
    expected = nearest_code(z_ND, codebook_KD, distance)
    rough = torch.argmax(z_ND.bfloat16() @ codebook_KD.bfloat16().t(), 1)
    assert not torch.equal(rough, nearest_code(z_ND, codebook_KD, 'dot')), 'the data no longer shows what is tested'
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision('medium')
    try:
        with torch.autocast('cpu', dtype=torch.bfloat16):
            assert torch.equal(nearest_code(z_ND, codebook_KD, distance), expected)
        assert torch.get_float32_matmul_precision() == 'medium', 'the setting of the caller was not restored'
    finally:
        torch.set_float32_matmul_precision(before)


def test_search_works_where_the_user_chose_tf32_by_torchs_new_setting():
    z_ND, codebook_KD = random_data(20, 30, 8)
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = 'tf32'
    try:
        assert torch.equal(nearest_code(z_ND, codebook_KD), scores(z_ND, codebook_KD, 'l2').argmax(1))
        assert torch.backends.cuda.matmul.fp32_precision == 'tf32', 'the setting of the caller was not restored'
    finally:
        torch.backends.cuda.matmul.fp32_precision = before


def test_half_precision_latents_are_compared_in_float32():
    z_ND, codebook_KD = random_data(100, 200, 16)
    z_ND = z_ND.bfloat16()
    assert torch.equal(nearest_code(z_ND, codebook_KD), scores(z_ND, codebook_KD, 'l2').argmax(1))


@both
def test_no_latents_give_no_indices(distance: Distance):
    indices = nearest_code(torch.empty(0, 4), torch.randn(5, 4), distance)
    assert indices.shape == (0,)
    assert indices.dtype == torch.int64


def test_indices_are_int64_without_gradient():
    z_ND, codebook_KD = (x.requires_grad_() for x in random_data(6, 5, 3))
    indices = nearest_code(z_ND, codebook_KD)
    assert indices.dtype == torch.int64
    assert not indices.requires_grad


@both
def test_largest_tensor_is_bounded_by_max_scores_whatever_the_number_of_latents(distance: Distance):
    N, K, D, max_scores = 600, 50, 2, 1000
    with LargestTensor() as whole:
        nearest_code(*random_data(N, K, D), distance, max_scores=N * K)
    with LargestTensor() as chunked:
        nearest_code(*random_data(N, K, D), distance, max_scores=max_scores)
    assert whole.numel == N * K
    assert chunked.numel <= max(max_scores, N * D)
