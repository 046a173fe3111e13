"""Kernels of GroupNorm + SiLU on channels-last features, seen as (N, S, C) with S = H * W.

A program takes tiles of BS rows of all C channels, so that every load is contiguous. `pre` is a bias (C,) added to x first;
`gamma` and `beta` are (C,) with GS = 0, or (N, C) with GS = C. No atomics: results repeat bit for bit.

    forward    stats     reads x           mean and M2 of each (image, channel, split): a Welford recurrence in every slot
               finish    small             merges splits and the channels of a group (Chan): mean, 1 / deviation (N, G)
               apply     reads x           writes y
    backward   reduce    reads dy, x       sums of dz and dz * xhat of each (image, channel, split)
               finish_b  small             sums of each group and each channel
               apply_b   reads dy, x       writes dx
"""

from __future__ import annotations

import triton
import triton.language as tl

SIGMOID = tl.constexpr("""
{
    .reg .f32 t;
    mul.f32 t, $1, 0fBFB8AA3B;
    ex2.approx.ftz.f32 t, t;
    add.f32 t, t, 0f3F800000;
    rcp.approx.ftz.f32 $0, t;
}
""")  # 1 / (1 + 2^(-z log2 e))


@triton.jit
def sigmoid(z, FAST: tl.constexpr):
    """With `FAST`, for NVIDIA's cards, in four instructions to about two units in the last place; `tl.sigmoid` takes eleven.

    Those seven are for subnormal numbers, which are flushed to 0 here: exp(-z) beside 1, or the sigmoid itself below 1e-38.
    """
    if FAST:
        return tl.inline_asm_elementwise(SIGMOID, '=f,f', [z], tl.float32, True, 1)  # pyrefly: ignore[bad-argument-type]
    else:
        return tl.sigmoid(z)


@triton.jit
def stats(x, pmean, pm2, S, splits, rows, C: tl.constexpr, BC: tl.constexpr, BS: tl.constexpr, EVEN: tl.constexpr):
    pid = tl.program_id(0)
    n = pid // splits
    k = pid % splits
    c = tl.arange(0, BC)
    r = tl.arange(0, BS)
    start = k * rows
    length = tl.minimum(rows, S - start)
    base = x + (n.to(tl.int64) * S + start) * C
    offs = r[:, None] * C + c[None, :]
    mean = tl.zeros([BS, BC], tl.float32)
    m2 = tl.zeros([BS, BC], tl.float32)
    for i in range(0, tl.cdiv(length, BS)):
        if EVEN:
            v = tl.load(base + offs).to(tl.float32)
            delta = v - mean
        else:
            mask = ((i * BS + r) < length)[:, None] & (c < C)[None, :]
            v = tl.load(base + offs, mask=mask, other=0.0).to(tl.float32)
            delta = tl.where(mask, v - mean, 0.0)
        mean += delta * (1.0 / (i + 1))
        m2 += delta * (v - mean)
        base += BS * C
    number = (tl.maximum(length - r + BS - 1, 0) // BS).to(tl.float32)  # values that each row of slots saw
    mean_c = tl.sum(mean * number[:, None], 0) / length
    dev = mean - mean_c[None, :]
    m2_c = tl.sum(m2 + dev * dev * number[:, None], 0)
    at = (n * C + c) * splits + k
    tl.store(pmean + at, mean_c, mask=c < C)
    tl.store(pm2 + at, m2_c, mask=c < C)


@triton.jit
def finish(
    pmean, pm2, pre, mean, rstd, xbar, S, splits, rows, eps, inv_S, inv_M,
    G: tl.constexpr, D: tl.constexpr, BD: tl.constexpr, BP: tl.constexpr, HAS_PRE: tl.constexpr,
):  # fmt: skip
    pid = tl.program_id(0)  # n * G + g
    d = tl.arange(0, BD)
    p = tl.arange(0, BP)
    at_c = pid * D + d  # n * C + c
    c = (pid % G) * D + d
    live = (d < D)[:, None] & (p < splits)[None, :]
    at = at_c[:, None] * splits + p[None, :]
    m = tl.load(pmean + at, mask=live, other=0.0)
    q = tl.load(pm2 + at, mask=live, other=0.0)
    number = tl.where(p < splits, tl.minimum(rows, S - p * rows), 0).to(tl.float32)
    ch = tl.sum(m * number[None, :], 1) * inv_S
    if HAS_PRE:
        bias = tl.load(pre + c, mask=d < D, other=0.0).to(tl.float32)
        ch += bias
        m += bias[:, None]
    mean_g = tl.sum(ch, 0) * (1.0 / D)
    dev = m - mean_g
    m2 = tl.sum(tl.sum(tl.where(live, q + dev * dev * number[None, :], 0.0), 1), 0)
    rs = 1.0 / tl.sqrt(m2 * inv_M + eps)
    tl.store(mean + pid, mean_g)
    tl.store(rstd + pid, rs)
    if HAS_PRE:
        tl.store(xbar + at_c, (ch - mean_g) * rs, mask=d < D)


@triton.jit
def apply(
    x, y, mean, rstd, gamma, beta, pre, S, blocks, GS,
    G: tl.constexpr, D: tl.constexpr, C: tl.constexpr, BC: tl.constexpr, BS: tl.constexpr, ITERS: tl.constexpr,
    EVEN: tl.constexpr, SILU: tl.constexpr, FAST: tl.constexpr, HAS_PRE: tl.constexpr,
):  # fmt: skip
    pid = tl.num_programs(0) - 1 - tl.program_id(0)  # what `stats` read last is still in the L2 cache
    n = pid // blocks
    k = pid % blocks
    c = tl.arange(0, BC)
    r = tl.arange(0, BS)
    cm = c < C
    m = tl.load(mean + n * G + c // D, mask=cm, other=0.0)
    w = tl.load(gamma + n * GS + c, mask=cm, other=0.0).to(tl.float32)
    b = tl.load(beta + n * GS + c, mask=cm, other=0.0).to(tl.float32)
    w = w * tl.load(rstd + n * G + c // D, mask=cm, other=0.0)
    if HAS_PRE:
        m -= tl.load(pre + c, mask=cm, other=0.0).to(tl.float32)
    start = k * (BS * ITERS)
    base = (n.to(tl.int64) * S + start) * C
    offs = r[:, None] * C + c[None, :]
    for i in tl.static_range(ITERS):
        mask = None if EVEN else ((start + i * BS + r) < S)[:, None] & cm[None, :]
        v = tl.load(x + base + offs, mask=mask).to(tl.float32)
        z = (v - m[None, :]) * w[None, :] + b[None, :]
        if SILU:
            z = z * sigmoid(z, FAST)
        tl.store(y + base + offs, z.to(y.dtype.element_ty), mask=mask)
        base += BS * C


@triton.jit
def reduce(
    dy, x, mean, rstd, gamma, beta, pre, pa, pb, S, splits, rows, GS,
    G: tl.constexpr, D: tl.constexpr, C: tl.constexpr, BC: tl.constexpr, BS: tl.constexpr,
    EVEN: tl.constexpr, SILU: tl.constexpr, FAST: tl.constexpr, HAS_PRE: tl.constexpr,
):  # fmt: skip
    pid = tl.program_id(0)
    n = pid // splits
    k = pid % splits
    c = tl.arange(0, BC)
    r = tl.arange(0, BS)
    cm = c < C
    m = tl.load(mean + n * G + c // D, mask=cm, other=0.0)
    w = tl.load(gamma + n * GS + c, mask=cm, other=0.0).to(tl.float32)
    w = w * tl.load(rstd + n * G + c // D, mask=cm, other=0.0)
    b = tl.load(beta + n * GS + c, mask=cm, other=0.0).to(tl.float32)
    if HAS_PRE:
        m -= tl.load(pre + c, mask=cm, other=0.0).to(tl.float32)
    start = k * rows
    length = tl.minimum(rows, S - start)
    base = (n.to(tl.int64) * S + start) * C
    offs = r[:, None] * C + c[None, :]
    sum_a = tl.zeros([BS, BC], tl.float32)
    sum_b = tl.zeros([BS, BC], tl.float32)
    for i in range(0, tl.cdiv(length, BS)):
        if EVEN:
            v = tl.load(x + base + offs).to(tl.float32)
            g = tl.load(dy + base + offs).to(tl.float32)
        else:
            mask = ((i * BS + r) < length)[:, None] & cm[None, :]
            v = tl.load(x + base + offs, mask=mask, other=0.0).to(tl.float32)
            g = tl.load(dy + base + offs, mask=mask, other=0.0).to(tl.float32)
        centred = v - m[None, :]
        if SILU:
            z = centred * w[None, :] + b[None, :]
            s = sigmoid(z, FAST)
            g = g * (s * (1.0 + z * (1.0 - s)))
        sum_a += g
        sum_b += g * centred
        base += BS * C
    rs = tl.load(rstd + n * G + c // D, mask=cm, other=0.0)
    at = (n * C + c) * splits + k
    tl.store(pa + at, tl.sum(sum_a, 0), mask=cm)
    tl.store(pb + at, tl.sum(sum_b, 0) * rs, mask=cm)


@triton.jit
def finish_b(
    pa, pb, gamma, rstd, xbar, sums, c1, c2, splits, NC, GS, count, inv_M,
    G: tl.constexpr, D: tl.constexpr, BD: tl.constexpr, BP: tl.constexpr, HAS_PRE: tl.constexpr,
):  # fmt: skip
    pid = tl.program_id(0)
    d = tl.arange(0, BD)
    p = tl.arange(0, BP)
    at_c = pid * D + d
    dm = d < D
    live = dm[:, None] & (p < splits)[None, :]
    at = at_c[:, None] * splits + p[None, :]
    a = tl.sum(tl.load(pa + at, mask=live, other=0.0), 1)
    b = tl.sum(tl.load(pb + at, mask=live, other=0.0), 1)
    w = tl.load(gamma + (pid // G) * GS + (pid % G) * D + d, mask=dm, other=0.0).to(tl.float32)
    one = tl.sum(w * a, 0) * inv_M
    two = tl.sum(w * b, 0) * inv_M
    tl.store(c1 + pid, one)
    tl.store(c2 + pid, two)
    tl.store(sums + at_c, b, mask=dm)  # of gamma's gradient
    tl.store(sums + NC + at_c, a, mask=dm)  # of beta's
    if HAS_PRE:
        rs = tl.load(rstd + pid)
        xb = tl.load(xbar + at_c, mask=dm, other=0.0)
        tl.store(sums + 2 * NC + at_c, rs * (w * a - count * (one + two * xb)), mask=dm)


@triton.jit
def apply_b(
    dy, x, skip, dx, mean, rstd, gamma, beta, pre, c1, c2, S, blocks, GS,
    G: tl.constexpr, D: tl.constexpr, C: tl.constexpr, BC: tl.constexpr, BS: tl.constexpr, ITERS: tl.constexpr,
    EVEN: tl.constexpr, SILU: tl.constexpr, FAST: tl.constexpr, HAS_PRE: tl.constexpr, HAS_SKIP: tl.constexpr,
):  # fmt: skip
    pid = tl.num_programs(0) - 1 - tl.program_id(0)
    n = pid // blocks
    k = pid % blocks
    c = tl.arange(0, BC)
    r = tl.arange(0, BS)
    cm = c < C
    m = tl.load(mean + n * G + c // D, mask=cm, other=0.0)
    rs = tl.load(rstd + n * G + c // D, mask=cm, other=0.0)
    one = tl.load(c1 + n * G + c // D, mask=cm, other=0.0) * rs
    two = tl.load(c2 + n * G + c // D, mask=cm, other=0.0) * rs * rs
    w = tl.load(gamma + n * GS + c, mask=cm, other=0.0).to(tl.float32) * rs
    b = tl.load(beta + n * GS + c, mask=cm, other=0.0).to(tl.float32)
    if HAS_PRE:
        m -= tl.load(pre + c, mask=cm, other=0.0).to(tl.float32)
    start = k * (BS * ITERS)
    base = (n.to(tl.int64) * S + start) * C
    offs = r[:, None] * C + c[None, :]
    for i in tl.static_range(ITERS):
        mask = None if EVEN else ((start + i * BS + r) < S)[:, None] & cm[None, :]
        v = tl.load(x + base + offs, mask=mask).to(tl.float32)
        g = tl.load(dy + base + offs, mask=mask).to(tl.float32)
        centred = v - m[None, :]
        if SILU:
            z = centred * w[None, :] + b[None, :]
            s = sigmoid(z, FAST)
            g = g * (s * (1.0 + z * (1.0 - s)))
        out = g * w[None, :] - (one[None, :] + centred * two[None, :])
        if HAS_SKIP:
            out += tl.load(skip + base + offs, mask=mask).to(tl.float32)
        tl.store(dx + base + offs, out.to(dx.dtype.element_ty), mask=mask)
        base += BS * C
