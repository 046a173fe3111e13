"""The codebook search: exact against float64 brute force, bounded in memory, blind to autocast."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from fvq_core.errors import NonFiniteError, UserError
from fvq_core.ops.nearest_code import nearest_code, shift

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


def test_search_works_if_the_user_chose_tf32_by_torchs_new_setting():
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


def far_data(name: str) -> tuple[Tensor, Tensor]:
    """Latents and codes that float32 has trouble with."""
    dim, mean, spread = {'wide': (512, 30.0, 0.1), 'narrow': (4, 1000.0, 3.0)}.get(name, (64, 100.0, 0.3))
    z_ND, codebook_KD = (mean + spread * x for x in random_data(1000, 300, dim))
    if name == 'around zero':
        return random_data(1000, 300, dim)
    if name == 'an outlier':
        codebook_KD[7] = 1e6
        z_ND[0] = 1e6
    elif name == 'repeated codes':
        codebook_KD = codebook_KD.repeat(3, 1)
    elif name == 'norms of every size':
        z_ND, codebook_KD = random_data(1000, 300, dim)
        z_ND, codebook_KD = (
            z_ND * torch.logspace(-4, 4, 1000)[:, None],
            codebook_KD * torch.logspace(-4, 4, 300)[:, None],
        )
    elif name == 'near ties':
        z_ND = (codebook_KD[:150] + codebook_KD[150:]) / 2
    return z_ND, codebook_KD


FAR = (
    'a shared mean',
    'wide',
    'narrow',
    'around zero',
    'an outlier',
    'repeated codes',
    'norms of every size',
    'near ties',
)


def regret_and_rounding(z_ND: Tensor, codebook_KD: Tensor, indices_N: Tensor) -> tuple[Tensor, Tensor]:
    """By how much another code is nearer, in squared distance, and by how much float32's rounding may have it, (N,) each."""
    exact_NK = -scores(z_ND, codebook_KD, 'l2')
    best = exact_NK.min(1)
    moved = torch.zeros(()) if (found := shift(codebook_KD)) is None else found.double()
    lengths_K, lengths_N = (x.double().sub(moved).norm(dim=1) for x in (codebook_KD, z_ND))
    farther_N = torch.maximum(lengths_K[indices_N], lengths_K[best.indices])
    rounding_N = (z_ND.shape[1] + 4) * 2.0**-23 * (lengths_N + farther_N).square()
    return exact_NK.gather(1, indices_N[:, None])[:, 0] - best.values, rounding_N


@pytest.mark.parametrize('name', FAR)
def test_code_is_float64s_choice_wherever_its_margin_exceeds_the_rounding_after_the_shift(name: str):
    z_ND, codebook_KD = far_data(name)
    indices_N = nearest_code(z_ND, codebook_KD)
    regret_N, rounding_N = regret_and_rounding(z_ND, codebook_KD, indices_N)
    assert (regret_N <= rounding_N).all()
    if name == 'repeated codes':
        assert indices_N.max() < 300
    if name == 'near ties':
        return
    # The bound is no excuse: float32 that takes differences first is hardly more often right.
    direct_N = torch.stack([(z_ND - code).square().sum(1) for code in codebook_KD], 1).argmin(1)
    wrong, unavoidable = (regret_and_rounding(z_ND, codebook_KD, i)[0] > 0 for i in (indices_N, direct_N))
    assert wrong.double().mean() <= unavoidable.double().mean() + 0.005


def test_large_dot_products_of_codes_far_from_zero_are_told_apart():
    z_ND, codebook_KD = random_data(1000, 300, 64)
    codebook_KD = 100 + 0.0005 * codebook_KD
    plain = (z_ND @ codebook_KD.t()).argmax(1)
    expected = scores(z_ND, codebook_KD, 'dot').argmax(1)
    assert (plain != expected).float().mean() > 0.02, 'the data no longer shows what is tested'
    assert (nearest_code(z_ND, codebook_KD, 'dot') != expected).float().mean() < 0.001


def test_a_latents_code_does_not_depend_on_its_batch_or_the_chunks():
    z_ND, codebook_KD = far_data('near ties')
    whole = nearest_code(z_ND, codebook_KD)
    for rows in (1, 7, 64):
        parts = [nearest_code(torch.cat([part, 9e3 + part]), codebook_KD)[: len(part)] for part in z_ND.split(rows)]
        margin = (scores(z_ND, codebook_KD, 'l2').gather(1, torch.stack([whole, torch.cat(parts)], 1))).diff().abs()
        assert (margin < 1e-3).all()  # a matrix product's last bit may depend on its number of rows, nothing else may


def test_the_shift_is_zero_around_zero_and_blind_to_outliers():
    codebook_KD = random_data(1, 999, 16)[1]
    assert shift(codebook_KD) is None
    codebook_KD[::20] = 1e30
    assert shift(codebook_KD) is None
    moved = shift(0.01 * random_data(1, 999, 16)[1] + 50.0)
    assert moved is not None
    assert (moved - 50.0).abs().max() < 0.03


def test_subtracting_the_shift_loses_no_bit():
    codebook_KD = 77.7 + 0.4 * random_data(1, 500, 16)[1]
    moved = shift(codebook_KD)
    assert moved is not None
    assert torch.equal((codebook_KD - moved).double(), codebook_KD.double() - moved.double())


def test_double_latents_far_from_zero_are_shifted_before_they_are_rounded():
    z_ND, codebook_KD = (1e6 + x.double() for x in random_data(500, 100, 8))
    assert torch.equal(nearest_code(z_ND, codebook_KD), scores(z_ND, codebook_KD, 'l2').argmax(1))


@both
@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
def test_numbers_that_are_not_finite_are_refused_on_either_side(distance: Distance, value: float):
    z_ND, codebook_KD = random_data(20, 30, 4)
    for vectors, codes, message in (
        (z_ND.index_put((torch.tensor(11), torch.tensor(2)), torch.tensor(value)), codebook_KD, 'vector 11 of 20'),
        (z_ND, codebook_KD.index_put((torch.tensor(29), torch.tensor(0)), torch.tensor(value)), 'the codebook is not'),
    ):
        with pytest.raises(NonFiniteError, match=message):
            nearest_code(vectors, codes, distance, max_scores=90)


@pytest.mark.parametrize(
    ('z', 'codebook', 'message'),
    [
        (torch.zeros(2, 3).numpy(), torch.zeros(4, 3), 'vectors as a tensor, got ndarray'),
        (torch.zeros(2, 3), [[0.0] * 3], 'codes as a tensor, got list'),
        (torch.zeros(3), torch.zeros(4, 3), r'floating vectors of two dimensions, got torch.float32 \(3,\)'),
        (torch.zeros(2, 3, dtype=torch.uint8), torch.zeros(4, 3), r'got torch.uint8 \(2, 3\)'),
        (torch.zeros(2, 3), torch.zeros(4, 3, dtype=torch.int64), 'floating codes'),
        (torch.zeros(2, 3), torch.zeros(4, 2), r'vectors \(2, 3\) and codes \(4, 2\)'),
        (torch.zeros(2, 3), torch.zeros(0, 3), 'one or more codes'),
        (torch.zeros(2, 3), torch.zeros(4, 3, device='meta'), 'the codes on meta; move one'),
    ],
)
def test_operands_that_do_not_fit_are_refused(z: Any, codebook: Any, message: str):
    with pytest.raises(UserError, match=message):
        nearest_code(z, codebook)


def test_unknown_distance_is_refused():
    with pytest.raises(UserError, match="'l2' or 'dot', got 'cosine'"):
        nearest_code(torch.zeros(2, 3), torch.zeros(4, 3), 'cosine')  # pyrefly: ignore[bad-argument-type]
