"""Kernels of the distance in LPIPS, on channels-last features (N, S, C) with S = H * W."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def distance(a, b, w, part, S, splits, rows, eps, C: tl.constexpr, BC: tl.constexpr, BS: tl.constexpr):
    pid = tl.program_id(0)
    n = pid // splits
    start = (pid % splits) * rows
    length = tl.minimum(rows, S - start)
    c = tl.arange(0, BC)
    r = tl.arange(0, BS)
    base = (n.to(tl.int64) * S + start) * C
    offs = r[:, None] * C + c[None, :]
    weight = tl.load(w + c, mask=c < C, other=0.0).to(tl.float32)
    total = tl.zeros([BS], tl.float32)
    for i in range(0, tl.cdiv(length, BS)):
        mask = ((i * BS + r) < length)[:, None] & (c < C)[None, :]
        va = tl.load(a + base + offs, mask=mask, other=0.0).to(tl.float32)
        vb = tl.load(b + base + offs, mask=mask, other=0.0).to(tl.float32)
        la = tl.sqrt(tl.sum(va * va, 1))
        lb = tl.sqrt(tl.sum(vb * vb, 1))
        ia = tl.where(la > 0, 1.0 / (la + eps), 0.0)
        ib = tl.where(lb > 0, 1.0 / (lb + eps), 0.0)
        d = va * ia[:, None] - vb * ib[:, None]
        total += tl.sum(d * d * weight[None, :], 1)
        base += BS * C
    tl.store(part + pid, tl.sum(total, 0))


@triton.jit
def distance_b(a, b, w, grad, da, S, splits, rows, eps, scale, C: tl.constexpr, BC: tl.constexpr, BS: tl.constexpr):
    pid = tl.program_id(0)
    n = pid // splits
    start = (pid % splits) * rows
    length = tl.minimum(rows, S - start)
    c = tl.arange(0, BC)
    r = tl.arange(0, BS)
    base = (n.to(tl.int64) * S + start) * C
    offs = r[:, None] * C + c[None, :]
    weight = tl.load(w + c, mask=c < C, other=0.0).to(tl.float32) * (tl.load(grad + n) * scale)
    for i in range(0, tl.cdiv(length, BS)):
        mask = ((i * BS + r) < length)[:, None] & (c < C)[None, :]
        va = tl.load(a + base + offs, mask=mask, other=0.0).to(tl.float32)
        vb = tl.load(b + base + offs, mask=mask, other=0.0).to(tl.float32)
        la = tl.sqrt(tl.sum(va * va, 1))
        lb = tl.sqrt(tl.sum(vb * vb, 1))
        ia = tl.where(la > 0, 1.0 / (la + eps), 0.0)
        ib = tl.where(lb > 0, 1.0 / (lb + eps), 0.0)
        g = (va * ia[:, None] - vb * ib[:, None]) * weight[None, :]
        along = tl.sum(g * va, 1) * ia * ia
        out = (g - va * along[:, None]) * ia[:, None]
        tl.store(da + base + offs, out.to(da.dtype.element_ty), mask=mask)
        base += BS * C
