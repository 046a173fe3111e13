"""Kernels of nearest 2x upsampling, and of the sum of a residual block, on channels-last features."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def upsample(x, y, P, W, C: tl.constexpr, BC: tl.constexpr, BS: tl.constexpr, EVEN: tl.constexpr):
    """x holds P positions in rows of W; y four for each of them."""
    c = tl.arange(0, BC)
    p = tl.program_id(0) * BS + tl.arange(0, BS)
    mask = None if EVEN else (p < P)[:, None] & (c < C)[None, :]
    v = tl.load(x + p.to(tl.int64)[:, None] * C + c[None, :], mask=mask)
    first = (p // W).to(tl.int64) * (4 * W) + (p % W) * 2
    for i in tl.static_range(2):
        for j in tl.static_range(2):
            q = first + i * (2 * W) + j
            tl.store(y + q[:, None] * C + c[None, :], v, mask=mask)


@triton.jit
def upsample_b(dy, dx, P, W, C: tl.constexpr, BC: tl.constexpr, BS: tl.constexpr, EVEN: tl.constexpr):
    c = tl.arange(0, BC)
    p = tl.program_id(0) * BS + tl.arange(0, BS)
    mask = None if EVEN else (p < P)[:, None] & (c < C)[None, :]
    first = (p // W).to(tl.int64) * (4 * W) + (p % W) * 2
    total = tl.zeros([BS, BC], tl.float32)
    for i in tl.static_range(2):
        for j in tl.static_range(2):
            q = first + i * (2 * W) + j
            total += tl.load(dy + q[:, None] * C + c[None, :], mask=mask).to(tl.float32)
    tl.store(dx + p.to(tl.int64)[:, None] * C + c[None, :], total.to(dx.dtype.element_ty), mask=mask)


@triton.jit
def residual_sum(x, h, bias, y, P, C: tl.constexpr, BC: tl.constexpr, BS: tl.constexpr, EVEN: tl.constexpr):
    """y = x + h + bias at each of P positions."""
    c = tl.arange(0, BC)
    p = tl.program_id(0).to(tl.int64) * BS + tl.arange(0, BS)
    mask = None if EVEN else (p < P)[:, None] & (c < C)[None, :]
    b = tl.load(bias + c, mask=c < C, other=0.0).to(tl.float32)
    offs = p[:, None] * C + c[None, :]
    v = tl.load(x + offs, mask=mask).to(tl.float32) + tl.load(h + offs, mask=mask).to(tl.float32)
    tl.store(y + offs, (v + b[None, :]).to(y.dtype.element_ty), mask=mask)
