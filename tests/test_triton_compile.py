"""Compiling kernels without a card: what it finds, and an example of how a kernel's test uses it."""

from __future__ import annotations

import pytest

from tests.triton_compile import Compiled, compile_kernel

triton = pytest.importorskip('triton')
import triton.language as tl  # noqa: E402


@triton.jit
def product(a_ptr, b_ptr, out_ptr, inner, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr):
    """One tile of a matrix product; its tiles wait in shared memory, a pair for each stage."""
    rows, columns, depth = tl.arange(0, M), tl.arange(0, N), tl.arange(0, K)
    total = tl.zeros((M, N), dtype=tl.float32)
    for start in range(0, inner, K):
        a = tl.load(a_ptr + rows[:, None] * inner + start + depth[None, :])
        b = tl.load(b_ptr + columns[None, :] * inner + start + depth[:, None])
        total = tl.dot(a, b, total)
    tl.store(out_ptr + rows[:, None] * N + columns[None, :], total)


def tile(arch: int, size: int, inner: int, **options: int) -> Compiled:
    signature = dict(a_ptr='*bf16', b_ptr='*bf16', out_ptr='*fp32', inner='i32')
    return compile_kernel(product, signature, dict(M=size, N=size, K=inner), arch, divisible=['inner'], **options)


@pytest.mark.parametrize('arch', [80, 90])
def test_a_tile_that_fits(arch: int) -> None:
    found = tile(arch, 64, 64, num_warps=4, num_stages=3)
    found.check()
    assert 32 * 1024 <= found.shared_bytes <= 64 * 1024  # 16 KiB a stage
    assert 32 <= found.registers <= 255
    assert f'sm_{arch}' in found.ptx


@pytest.mark.parametrize('arch', [80, 90])
def test_a_tile_that_wants_more_shared_memory_than_a_block_may_have(arch: int) -> None:
    tile(arch, 128, 128, num_warps=8, num_stages=3).check()
    with pytest.raises(AssertionError, match=rf'sm_{arch}: \d+ bytes shared'):
        tile(arch, 128, 128, num_warps=8, num_stages=4).check()


def test_a_tuned_kernel_is_compiled_as_its_call_says() -> None:
    tuned = triton.autotune([triton.Config({'M': 32}), triton.Config({'M': 64})], key=['inner'])(product)
    signature = dict(a_ptr='*bf16', b_ptr='*bf16', out_ptr='*fp32', inner='i32')
    compile_kernel(tuned, signature, dict(M=32, N=32, K=32), 80, num_warps=4).check()


def test_spilled_registers_are_found() -> None:
    with pytest.raises(AssertionError, match='bytes spilled'):
        tile(80, 64, 64, num_warps=4, num_stages=2, maxnreg=32).check()


def test_parameters_that_are_forgotten_are_named() -> None:
    with pytest.raises(AssertionError, match=r"product: \['inner'\]"):
        compile_kernel(product, dict(a_ptr='*bf16', b_ptr='*bf16', out_ptr='*fp32'), dict(M=64, N=64, K=64), 80)
