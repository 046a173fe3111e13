"""Samples of generators on a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.decoding_ops import compare_codes, compare_draws, compare_steps
from benchmarks.sampling import build
from fvq_core.ops.kernels import switch
from fvq_generators.ops.draw import DRAW
from fvq_generators.ops.few_rows import STEP

from ..generators.tiny import tiny_generator
from .shares import matching

pytestmark = pytest.mark.gpu
DEVICE = torch.device('cuda')


# Float32 means float32 here; the compiler would rather have less.
@pytest.mark.filterwarnings('ignore:TensorFloat32 tensor cores')
@pytest.mark.parametrize('compile', [False, True])
def test_samples_are_those_of_the_cpu(compile: bool) -> None:
    generator = tiny_generator(layout=dict(type='Grid', height=3, width=4, codebook_size=16384))
    cond, options = torch.arange(64) % 5, dict(seeds=list(range(64)), cfg_scale=1.5, top_k=50)
    expected = generator.sample(cond, **options).indices_BL
    got = generator.cuda().sample(cond.cuda(), compile=compile, **options).indices_BL
    first = got[:, 0].cpu() == expected[:, 0]  # a draw that falls the other way changes all that follow it
    assert first.double().mean() > 0.97
    assert matching(got, expected) > 0.9


# Float32 means float32 here; the compiler would rather have less.
@pytest.mark.filterwarnings('ignore:TensorFloat32 tensor cores')
@pytest.mark.parametrize('batch', [1, 64, 65])
def test_compiled_steps_on_a_gpu_give_the_codes_of_plain_ones(batch: int):
    layout = dict(type='Grid', height=3, width=4, codebook_size=16384)
    generator = tiny_generator(layout=layout, dim=64, heads=4, token_dropout=0.0).cuda()
    cond = torch.arange(batch, device='cuda') % 5
    for filters in (dict(temperature=0.5), dict(top_k=100, top_p=0.9)):
        options: dict[str, Any] = dict(cfg_scale=2.0, seeds=range(batch), **filters)
        compiled = generator.sample(cond, compile=True, **options).indices_BL
        plain = generator.sample(cond, **options).indices_BL
        # Kernels round differently, and a number that falls on an edge between two tokens goes to either.
        assert (compiled == plain).all(1).float().mean() >= 0.9
        assert torch.equal(generator.sample(cond, compile=True, **options).indices_BL, compiled)


@pytest.mark.parametrize('filters', [dict(), dict(temperature=0.8, top_k=100, top_p=0.9)], ids=str)
@pytest.mark.parametrize('dtype', [torch.float64, torch.float32])
def test_a_sample_does_not_depend_on_its_batch(dtype: torch.dtype, filters: dict[str, Any]) -> None:
    """Products of another batch may round otherwise; in float64 that is so little that no draw sees it."""
    layout = dict(type='Grid', height=3, width=4, codebook_size=16384)
    generator = tiny_generator(layout=layout, dim=64, heads=4).to(DEVICE, dtype)
    cond, seeds = torch.arange(65, device=DEVICE) % 5, list(range(100, 165))

    def sample(size: int) -> Tensor:
        parts = zip(cond.split(size), (seeds[i : i + size] for i in range(0, 65, size)), strict=True)
        return torch.cat([generator.sample(c, seeds=s, cfg_scale=2.0, **filters).indices_BL for c, s in parts])

    together = sample(65)
    assert torch.equal(sample(65), together)
    assert len(together.unique(dim=0)) > 60
    for size in (1, 64):
        same = (sample(size) == together).all(1).double().mean()
        assert same == 1 if dtype == torch.float64 else same >= 0.9


@pytest.fixture
def kernels_on(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv('FVQ_KERNELS', 'all')
    switch.cache_clear()
    yield
    assert not STEP.failed
    assert not DRAW.failed
    monkeypatch.undo()
    switch.cache_clear()


@pytest.mark.usefixtures('kernels_on')
def test_kernels_give_the_same_codes_in_any_batch_and_compiled() -> None:
    layout = dict(type='Grid', height=3, width=4, codebook_size=16384)
    generator = tiny_generator(layout=layout, dim=64, heads=4).cuda().bfloat16()
    cond, options = torch.arange(64, device='cuda') % 5, dict(cfg_scale=2.0, top_k=100)
    expected = generator.sample(cond, seeds=range(64), **options).indices_BL
    for batch in (1, 9):
        got = generator.sample(cond[:batch], seeds=range(batch), **options).indices_BL
        assert torch.equal(got, expected[:batch])
    assert torch.equal(generator.sample(cond, seeds=range(64), compile=True, **options).indices_BL, expected)


@pytest.mark.usefixtures('kernels_on')
def test_codes_with_kernels_differ_from_those_without_at_near_ties_only() -> None:
    generator = build('tiny', 12, DEVICE, torch.bfloat16)
    found = compare_codes(generator, 64, 12)
    assert found['same_in_batch_1']
    assert found['no_near_tie'] == 0
    assert found['logits_apart'] < 2.0**-4


@pytest.mark.usefixtures('kernels_on')
@pytest.mark.parametrize('rows', [2, 33, 128])
def test_operators_are_within_rounding_of_float64(rows: int) -> None:
    sizes = dict(D=256, HD=64, V=1024, T=130)
    for row in compare_steps(rows, sizes, torch.bfloat16, DEVICE):
        assert row['error'] < 2.0**-7, row
        assert row['same_in_any_batch'] is not False, row
    assert all(row['wrong'] == 0 for row in compare_draws(rows, 16384, DEVICE))
