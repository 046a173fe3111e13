"""The search's kernels: equal to the definition in Triton's interpreter, and within what an A100 and an H100 have."""

from __future__ import annotations

from typing import Any

import pytest

from tests.triton_compile import SHARED_KIB, Compiled, compile_kernel
from tests.triton_interpreter import run_interpreted

triton = pytest.importorskip('triton')
from fvq_core.ops.search import kernels  # noqa: E402
from fvq_core.ops.search.two_pass import Blocks, float32_blocks, float64_blocks, half_blocks  # noqa: E402

archs = pytest.mark.parametrize('arch', [80, 90])


@pytest.mark.processes
def test_kernels_in_the_interpreter() -> None:
    run_interpreted('core/interpreted_search.py')


def first_pass(arch: int, D: int, blocks: Blocks, half: bool, double: bool = False) -> Compiled:
    pointers = dict.fromkeys(('z', 'codes', 'shift', 'shift_norm', 'z_norms', 'z_residuals', 'bias'), '*fp32')
    pointers |= dict.fromkeys(('tile_norms', 'tile_residuals', 'base', 'upper', 'lower'), '*fp32')
    pointers |= dict.fromkeys(('z_half', 'code_half'), '*fp16')
    pointers |= dict.fromkeys(('code_exponent', 'exponents', 'rows', 'count'), '*i32')
    scalars = dict.fromkeys(('N', 'K', 'tiles', 'blocks'), 'i32') | dict.fromkeys(
        ('product_error', 'bias_error', 'dot_error'), 'fp32'
    )
    width = triton.cdiv(D, blocks.BD) * blocks.BD
    constants = dict(D=D, DP=width, BM=blocks.BM, BN=blocks.BN, BD=blocks.BD, HALF=half, L2=True)
    constants |= dict(Z_SHIFTED=True, SHIFTED=True, LISTED=not half, DOUBLE=double)
    options = dict(num_warps=blocks.warps, num_stages=blocks.stages)
    return compile_kernel(kernels.tile_maxima, pointers | scalars, constants, arch, **options)


@archs
@pytest.mark.parametrize('D', [64, 256, 512])
def test_first_pass_fits_and_uses_tensor_cores(arch: int, D: int) -> None:
    found = first_pass(arch, D, half_blocks(D, SHARED_KIB[arch] * 1024), half=True)
    found.check()
    assert ('wgmma' if arch == 90 else 'mma.sync') in found.ptx


@archs
@pytest.mark.parametrize('D', [4, 256])
def test_float32_pass_fits_and_uses_none(arch: int, D: int) -> None:
    found = first_pass(arch, D, float32_blocks(D, 128), half=False)
    found.check()
    assert 'mma' not in found.ptx


@archs
@pytest.mark.parametrize('D', [20, 256])
def test_float64_pass_fits_and_uses_tensor_cores(arch: int, D: int) -> None:
    found = first_pass(arch, D, float64_blocks(128), half=False, double=True)
    found.check()
    assert '.f64.f64.f64.f64' in found.ptx


@archs
@pytest.mark.parametrize('distance', ['l2', 'dot'])
def test_rescoring_fuses_no_multiplication_with_an_addition(arch: int, distance: str) -> None:
    kinds: dict[str, Any] = dict.fromkeys(('z', 'codes', 'z_norms', 'base', 'upper', 'lower'), '*fp32')
    kinds |= dict.fromkeys(
        ('code_exponent', 'exponents', 'rows', 'count', 'next_rows', 'next_count', 'compared'), '*i32'
    )
    kinds |= dict(indices='*i64') | dict.fromkeys(('N', 'K', 'tiles', 'splits', 'limit'), 'i32')
    constants = dict(D=256, BN=128, BW=1024, BS=4, L2=distance == 'l2', LISTED=False, DOUBLE=False)
    kinds |= dict(distance_error='fp32')
    found = compile_kernel(kernels.rescore_tiles, kinds, constants, arch, num_warps=4, enable_fp_fusion=False)
    found.check(spill_bytes=16)
    assert 'fma' not in found.ptx
    assert 'mul.f64' in found.ptx or 'mul.rn.f64' in found.ptx
