"""The float16 filter's margin holds for tensor cores that truncate: its accumulation bound, and the best code is kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fvq_core.ops.search.margin import float32_error, rescoring_error, tensor_core_error

from .search_cases import CASES, best_by_definition, normal, trap
from .truncating import truncating_dot

Block: Any = pytest.mark.parametrize('block', [2, 4, 8, 16, 32])


def product(z_ND: Tensor, codes_KD: Tensor, block: int) -> Tensor:
    zeros = np.zeros((len(z_ND), len(codes_KD)), np.float32)
    return torch.from_numpy(truncating_dot(z_ND.numpy(), codes_KD.t().numpy(), zeros, block))


def error_over_norms(z_ND: Tensor, codes_KD: Tensor, block: int) -> float:
    """Largest |computed - exact| over |z| |c|."""
    z, codes = z_ND.double(), codes_KD.double()
    norms = z.norm(dim=1, keepdim=True) * codes.norm(dim=1)
    return ((product(z_ND, codes_KD, block).double() - z @ codes.t()).abs() / norms.clamp_min(1e-300)).max().item()


def one_large_product(D: int) -> tuple[Tensor, Tensor]:
    """A product of 1, then D - 1 that lie just below the accumulator's last bit and are lost one and all."""
    row = torch.full((1, D), 2.0**-12 * (2 - 2.0**-10), dtype=torch.float16)
    row[0, 0] = 1
    other = torch.full((1, D), 2.0**-12, dtype=torch.float16)
    other[0, 0] = 1
    return row, other


@Block
@pytest.mark.parametrize('D', [17, 64, 256, 512])
def test_accumulation_that_truncates_is_within_the_bound(block: int, D: int) -> None:
    data = [one_large_product(D), *((z.half(), c.half()) for z, c in (normal(20, 20, D), trap(2, 4, D, 8)))]
    data += [(z.half().abs(), c.half().abs()) for z, c in data[1:]]
    worst = max(error_over_norms(z, codes, block) for z, codes in data)
    assert worst <= D * 2.0**-22 < tensor_core_error(D)
    assert worst > D * 2.0**-24, 'a bound for sums rounded as IEEE asks would not hold'


def to_half(x_ND: Tensor, shrink: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scaled by powers of two, rounded to float16 without overflow; the norms of the operands and of what is lost."""
    scaled = x_ND.double() * shrink
    half = scaled.clamp(-65504, 65504).half()
    return half, scaled.norm(dim=1), (scaled - half.double()).norm(dim=1)


def survivors(z_ND: Tensor, codes_KD: Tensor, distance: str, block: int, residuals: float = 1.0) -> Tensor:
    """The codes that the filter of docs/search.md keeps, (N, K), each its own tile, without a shift.

    Args:
        residuals: Times the operands' lost parts; 1 is the margin.
    """
    D, z64, codes64 = z_ND.shape[1], z_ND.double(), codes_KD.double()
    power = torch.exp2(-torch.frexp(z64.abs().amax(1, keepdim=True))[1].double() + 1)
    common = torch.exp2(-torch.frexp(codes64.abs().amax(1).median())[1].double() + 1)
    half_z, length, lost_z = to_half(z_ND, power)
    half_codes, norms, lost_codes = to_half(codes_KD, common)
    scores = product(half_z, half_codes, block).double()
    lost_z, lost_codes, length = residuals * lost_z[:, None], residuals * lost_codes, length[:, None]
    error = lost_z * norms + (length + lost_z) * lost_codes
    error += tensor_core_error(D) * (length + lost_z) * (norms + lost_codes) + 2.0**-80
    least = (scores - error).amax(1, keepdim=True)
    if distance == 'dot':
        error += rescoring_error(D) * length * norms
        least = (scores - error).amax(1, keepdim=True)
    else:
        ratio = power / common
        scores = (scores - ratio * norms.square() / 2).float().double()
        error += ratio * float32_error(D) * norms.square()
        least = (scores - error).amax(1, keepdim=True)
        least -= rescoring_error(D) * (length.square() / ratio + least.abs())
    return scores + error >= least


@pytest.mark.parametrize('distance', ['l2', 'dot'])
@pytest.mark.parametrize('block', [2, 16])
@pytest.mark.parametrize('name', CASES)
def test_the_best_code_survives_the_filter(name: str, block: int, distance: str) -> None:
    for N, K, D in ((20, 60, 20), (6, 24, 256)):
        z, codes = CASES[name](N, K, D)
        kept = survivors(z, codes, distance, block)
        assert kept[torch.arange(len(z)), best_by_definition(z, codes, distance)].all()


@pytest.mark.parametrize('block', [2, 16])
def test_a_margin_of_half_the_residuals_falls_into_the_trap(block: int) -> None:
    z, codes = CASES['float16 sharp trap'](1, 2, 256)
    assert best_by_definition(z, codes, 'dot').item() == 1
    assert survivors(z, codes, 'dot', block).all()
    assert not survivors(z, codes, 'dot', block, residuals=0.5)[0, 1]
