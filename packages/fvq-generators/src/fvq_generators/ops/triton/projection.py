"""A projection with the norm before it, and the gate or the residual sum after it."""

import triton
import triton.language as tl

from .products import products


@triton.jit
def project_kernel(
    x, norm, scales, weight, residual, out, R, N, eps,
    D: tl.constexpr, NORM: tl.constexpr, SCALED: tl.constexpr, GATED: tl.constexpr, RESIDUAL: tl.constexpr,
    BM: tl.constexpr, BR: tl.constexpr, BK: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    n = (tl.program_id(0) * BM + tl.arange(0, BM)).to(tl.int64)
    r = (tl.program_id(1) * BR + tl.arange(0, BR)).to(tl.int64)
    one, two = products(
        x, r, r < R, norm, scales, eps, weight, n, N + n, n < N, D, NORM, SCALED, GATED, BM, BR, BK, STAGES
    )
    at = r[None, :] * N + n[:, None]
    mask = (n < N)[:, None] & (r < R)[None, :]
    y = one.to(out.dtype.element_ty).to(tl.float32)  # rounded where single operators would round
    if GATED:
        y = (y * tl.sigmoid(y)).to(out.dtype.element_ty).to(tl.float32) * two.to(out.dtype.element_ty).to(tl.float32)
    if RESIDUAL:
        y += tl.load(residual + at, mask=mask, other=0.0).to(tl.float32)
    tl.store(out + at, y.to(out.dtype.element_ty), mask=mask)


@triton.jit
def project_qkv_kernel(
    x, norm, scales, weight, rotations, position, q, keys, values, R, eps, H, KV, T, row_stride,
    D: tl.constexpr, ROTATED: tl.constexpr, NORM: tl.constexpr, SCALED: tl.constexpr, HALF: tl.constexpr,
    BM: tl.constexpr, BR: tl.constexpr, BK: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Neighbouring channels 2n and 2n + 1 in one program, which turns them and writes queries, or an entry of the cache."""
    n = (tl.program_id(0) * BM + tl.arange(0, BM)).to(tl.int64)
    r = (tl.program_id(1) * BR + tl.arange(0, BR)).to(tl.int64)
    inside = n < (H + 2 * KV) * HALF
    one, two = products(
        x, r, r < R, norm, scales, eps, weight, 2 * n, 2 * n + 1, inside, D, NORM, SCALED, True, BM, BR, BK, STAGES
    )
    kind = q.dtype.element_ty
    a = one.to(kind).to(tl.float32)
    b = two.to(kind).to(tl.float32)
    head, pair = n // HALF, n % HALF
    is_v = head >= H + KV
    if ROTATED:
        turned = inside & (head < H + KV)
        cos = tl.load(rotations + 2 * pair, mask=turned, other=1.0)[:, None]
        sin = tl.load(rotations + 2 * pair + 1, mask=turned, other=0.0)[:, None]
        a, b = a * cos - b * sin, b * cos + a * sin
    to_q = q + (r[None, :] * H + head[:, None]) * (2 * HALF) + 2 * pair[:, None]
    mask_q = (head < H)[:, None] & (r < R)[None, :]
    tl.store(to_q, a.to(kind), mask=mask_q)
    tl.store(to_q + 1, b.to(kind), mask=mask_q)
    entry = tl.load(position).to(tl.int64)
    in_cache = r[None, :] * row_stride + 2 * pair[:, None]
    to_k = in_cache + ((head - H)[:, None] * T + entry) * (2 * HALF)
    to_v = in_cache + ((head - H - KV)[:, None] * T + entry) * (2 * HALF)
    mask_k = ((head >= H) & (head < H + KV))[:, None] & (r < R)[None, :]
    mask_v = (is_v & inside)[:, None] & (r < R)[None, :]
    cached = keys.dtype.element_ty
    tl.store(keys + to_k, a.to(cached), mask=mask_k)
    tl.store(keys + to_k + 1, b.to(cached), mask=mask_k)
    tl.store(values + to_v, a.to(cached), mask=mask_v)
    tl.store(values + to_v + 1, b.to(cached), mask=mask_v)


@triton.jit
def guided_logits_kernel(
    x, norm, scales, weight, guidance, out, R, N, eps,
    D: tl.constexpr, SCALED: tl.constexpr, GUIDED: tl.constexpr,
    BM: tl.constexpr, BR: tl.constexpr, BK: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """R rows of logits; guided, of 2 R rows: each with its condition, beside its twin without, in neighbouring columns."""
    n = (tl.program_id(0) * BM + tl.arange(0, BM)).to(tl.int64)
    c = (tl.program_id(1) * BR + tl.arange(0, BR)).to(tl.int64)
    if GUIDED:
        row, live = (c % 2) * R + c // 2, c < 2 * R
    else:
        row, live = c, c < R
    logits, _ = products(
        x, row, live, norm, scales, eps, weight, n, n, n < N, D, True, SCALED, False, BM, BR, BK, STAGES
    )
    logits = logits.to(x.dtype.element_ty).to(tl.float32)
    if GUIDED:
        conditional, unconditional = tl.split(tl.reshape(logits, (BM, BR // 2, 2)))
        logits = unconditional + (conditional - unconditional) * tl.load(guidance)
        r = (tl.program_id(1) * (BR // 2) + tl.arange(0, BR // 2)).to(tl.int64)
    else:
        r = c
    tl.store(out + r[None, :] * N + n[:, None], logits, mask=(n < N)[:, None] & (r < R)[None, :])
