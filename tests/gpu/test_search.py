"""The search of a codebook on a GPU by float32 products: its stated bound, its memory, and what it shuts out.

`test_search_kernels.py` has the kernels that take their place.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from fvq_core.ops.nearest_code import KERNEL, nearest_code

from ..core.test_nearest_code import FAR, far_data, regret_and_rounding
from .peak_memory import extra_mib

pytestmark = pytest.mark.gpu
DEVICE = torch.device('cuda')


@pytest.fixture(autouse=True)
def plain_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KERNEL, 'failed', True)


@pytest.mark.parametrize('distance', ['l2', 'dot'])
@pytest.mark.parametrize('mean', [0.0, 30.0])
def test_the_nearest_code_is_that_of_float64_away_from_ties(distance: str, mean: float) -> None:
    z, codebook = (mean * (distance == 'l2') + torch.randn(count, 16) for count in (5000, 700))
    exact = dict(l2=lambda a, b: -torch.cdist(a, b).square(), dot=lambda a, b: a @ b.T)
    scores = exact[distance](z.double(), codebook.double())
    best = scores.topk(2).values
    clear = best[:, 0] - best[:, 1] > 1e-3
    assert clear.float().mean() > 0.98
    for max_scores in (None, 700 * 13):
        got = nearest_code(z.to(DEVICE), codebook.to(DEVICE), distance, max_scores).cpu()
        assert torch.equal(got[clear], scores.argmax(1)[clear])


@pytest.mark.parametrize('name', FAR)
def test_no_code_is_nearer_by_more_than_the_rounding_after_the_shift(name: str) -> None:
    z, codebook = far_data(name)
    regret, rounding = regret_and_rounding(z, codebook, nearest_code(z.to(DEVICE), codebook.to(DEVICE)).cpu())
    assert (regret <= rounding).all()


@pytest.mark.parametrize('distance', ['l2', 'dot'])
def test_neither_tf32_nor_autocast_changes_a_code(distance: Any) -> None:
    check_precision(distance)


@contextmanager
def tf32() -> Iterator[None]:
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = 'tf32'
    try:
        yield
        assert torch.backends.cuda.matmul.fp32_precision == 'tf32', 'the setting of the caller was not restored'
    finally:
        torch.backends.cuda.matmul.fp32_precision = before


def check_precision(distance: Any) -> None:
    codebook = 8 * F.normalize(torch.randn(4000, 64))
    z = (codebook[:2000] + codebook[2000:]) / 2 + 1e-3 * torch.randn(2000, 64)  # two codes are nearly as good
    z, codebook = z.to(DEVICE), codebook.to(DEVICE)
    expected, product = nearest_code(z, codebook, distance), (z @ codebook.t()).argmax(1)
    with tf32():
        assert not torch.equal((z @ codebook.t()).argmax(1), product), 'the data no longer shows what is tested'
        assert torch.equal(nearest_code(z, codebook, distance), expected)
        with torch.autocast(DEVICE.type, torch.bfloat16):
            assert not torch.equal((z @ codebook.t()).argmax(1), product), 'the data no longer shows what is tested'
            assert torch.equal(nearest_code(z, codebook, distance), expected)


@pytest.mark.parametrize('distance', ['l2', 'dot'])
def test_two_gib_of_scores_are_never_there_at_once(distance: Any) -> None:
    check_memory(distance)


def check_memory(distance: Any) -> None:
    z, codebook = (torch.randn(count, 16, device=DEVICE) for count in (2**13, 2**16))
    assert len(z) * len(codebook) * 4 == 2**31
    extra = extra_mib(lambda: nearest_code(z, codebook, distance), lambda: nearest_code(z[:64], codebook, distance))
    assert extra < 512 + 64  # a chunk of scores, the codebook again and what belongs to a code or a latent
