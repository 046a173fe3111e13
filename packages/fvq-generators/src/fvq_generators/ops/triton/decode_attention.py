"""Attention of one new position over the filled part of a cache, split over the sequence."""

import triton
import triton.language as tl


@triton.jit
def attend_kernel(
    q, keys, values, position, visible, stats, parts, KV, T, row_stride, splits, scale,
    VISIBLE: tl.constexpr, GROUP: tl.constexpr, HD: tl.constexpr, BH: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """Maximum, sum and weighted values of one chunk of positions, for the query heads that share a head of keys."""
    row, kv = (tl.program_id(0) // KV).to(tl.int64), tl.program_id(0) % KV
    split = tl.program_id(1)
    last = tl.load(position).to(tl.int32)
    if split * CHUNK <= last:
        t, d = split * CHUNK + tl.arange(0, CHUNK), tl.arange(0, BH)
        live = t <= last
        if VISIBLE:
            live = live & ((tl.load(visible + row * T + t, mask=live, other=0) != 0) | (t == last))
        at = row * row_stride + kv * (T * HD) + t[:, None] * HD + d[None, :]
        mask = live[:, None] & (d < HD)[None, :]
        k = tl.load(keys + at, mask=mask, other=0.0).to(tl.float32)
        v = tl.load(values + at, mask=mask, other=0.0).to(tl.float32)
        for g in tl.static_range(GROUP):
            head = (row * KV + kv) * GROUP + g
            query = tl.load(q + head * HD + d, mask=d < HD, other=0.0).to(tl.float32) * scale
            scores = tl.where(live, tl.sum(k * query[None, :], 1), float('-inf'))
            top = tl.max(scores, 0)
            p = tl.where(live, tl.exp(scores - tl.where(top == float('-inf'), 0.0, top)), 0.0)
            place = head * splits + split
            tl.store(stats + 2 * place, top)
            tl.store(stats + 2 * place + 1, tl.sum(p, 0))
            tl.store(parts + place * HD + d, tl.sum(p[:, None] * v, 0), mask=d < HD)


@triton.jit
def combine_kernel(
    stats, parts, position, out, splits, HD: tl.constexpr, BH: tl.constexpr, BS: tl.constexpr, CHUNK: tl.constexpr
):
    """The chunks of one query head together."""
    head = tl.program_id(0).to(tl.int64)
    s, d = tl.arange(0, BS), tl.arange(0, BH)
    live = s * CHUNK <= tl.load(position).to(tl.int32)
    tops = tl.load(stats + 2 * (head * splits + s), mask=live, other=float('-inf'))
    sums = tl.load(stats + 2 * (head * splits + s) + 1, mask=live, other=0.0)
    share = tl.exp(tops - tl.max(tops, 0))  # the newest position is always visible, so that the maximum is finite
    part = tl.load(
        parts + (head * splits + s)[:, None] * HD + d[None, :], mask=live[:, None] & (d < HD)[None, :], other=0.0
    )
    y = tl.sum(part * share[:, None], 0) / tl.sum(sums * share, 0)
    tl.store(out + head * HD + d, y.to(out.dtype.element_ty), mask=d < HD)
