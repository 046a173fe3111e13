"""The passes of the search as Triton kernels; `two_pass` launches them, docs/search.md derives the bounds.

A tile is not a run of codes: in a block of BN codes, tile q of four holds the pairs 8 j + 2 q, 8 j + 2 q + 1, because a
thread of a tensor core's result holds just these of a row, so that their maximum needs no other thread.
"""

from __future__ import annotations

import triton
import triton.language as tl

LANES: tl.constexpr = tl.constexpr(32)  # `rescore.LANES`
LARGEST_HALF: tl.constexpr = tl.constexpr(65504.0)
SLACK: tl.constexpr = tl.constexpr(1.01)
TINY: tl.constexpr = tl.constexpr(2.0**-80)  # above all that underflows between operands scaled to about 1
NOTHING: tl.constexpr = tl.constexpr(2**30)


@triton.jit
def power_of_two(exponent):
    """2^exponent for -126 to 127."""
    return ((exponent + 127) << 23).to(tl.float32, bitcast=True)


@triton.jit
def shifted(x, shift, channels, inside, SHIFTED: tl.constexpr, DOUBLE: tl.constexpr):
    """x - m in float32, or with DOUBLE in float64; float64 is subtracted before it is rounded."""
    y = x if DOUBLE or x.dtype == tl.float64 else x.to(tl.float32)
    y = y.to(tl.float64) if DOUBLE else y
    if SHIFTED:
        y -= tl.load(shift + channels, mask=inside, other=0.0).to(y.dtype)[None, :]
    return y if DOUBLE else y.to(tl.float32)


@triton.jit
def scale_rows(
    x, shift, code_exponent, half, exponents, norms, residuals, bias, firsts, N, norm_factor, norm_floor,
    D: tl.constexpr, DP: tl.constexpr, BR: tl.constexpr, BD: tl.constexpr,
    CODES: tl.constexpr, L2: tl.constexpr, HALF: tl.constexpr, SHIFTED: tl.constexpr,
):  # fmt: skip
    """Scale rows by powers of two, round them to float16, and measure what that loses.

    Latents get a power each, which brings their largest number into [1, 2); codes one for all. Numbers too large for float16
    become its largest: the residual says so. Codes also get -|c|^2 / 2, or minus infinity if they stand beyond the last code
    or equal the code of `firsts`, which is then as good and comes before.
    """
    r = tl.program_id(0) * BR + tl.arange(0, BR)
    d = tl.arange(0, BD)
    live = (r < N)[:, None] & (d < D)[None, :]
    at = r.to(tl.int64)[:, None] * D + d[None, :]
    given = tl.load(x + at, mask=live, other=0.0)
    y = tl.where(live, shifted(given, shift, d, d < D, SHIFTED, False), 0.0)
    t = tl.load(code_exponent)
    if CODES:
        y = y * power_of_two(t)
    else:
        largest = tl.max(tl.abs(y), 1)
        a = 127 - ((largest.to(tl.int32, bitcast=True) >> 23) & 255)
        a = tl.minimum(tl.maximum(tl.minimum(a, t + 60), -126), 127)
        y = y * power_of_two(a)[:, None]
        tl.store(exponents + r, a, mask=r < N)
    squares = tl.sum(y * y, 1)
    norm = tl.sqrt(squares) * norm_factor + norm_floor
    tl.store(norms + r, norm)
    if HALF:
        rounded = tl.minimum(tl.maximum(y, -LARGEST_HALF), LARGEST_HALF).to(tl.float16)
        lost = y - rounded.to(tl.float32)
        tl.store(residuals + r, tl.sqrt(tl.sum(lost * lost, 1)) * norm_factor + norm_floor + norm * 2.0**-24)
        tl.store(half + r.to(tl.int64)[:, None] * DP + d[None, :], rounded, mask=(d < DP)[None, :])
    if CODES:
        first = tl.load(firsts + r, mask=r < N, other=0)
        other = tl.load(x + first[:, None] * D + d[None, :], mask=live, other=0.0)
        different = tl.sum((live & (given != other)).to(tl.int32), 1)
        out = (r >= N) | ((first < r) & (different == 0))
        tl.store(bias + r, tl.where(out, -float('inf'), -0.5 * squares if L2 else 0.0 * r))


@triton.jit
def operand(
    x, half, shift, scale, r, d, valid, D: tl.constexpr, DP: tl.constexpr, HALF: tl.constexpr, SHIFTED: tl.constexpr,
    DOUBLE: tl.constexpr,
):  # fmt: skip
    """Channels `d` of rows `r`: rounded, or scaled here."""
    if HALF:
        y = tl.load(half + r.to(tl.int64)[:, None] * DP + d[None, :])
    else:
        inside = valid[:, None] & (d < D)[None, :]
        given = tl.load(x + r.to(tl.int64)[:, None] * D + d[None, :], mask=inside, other=0.0)
        y = shifted(given, shift, d, d < D, SHIFTED, DOUBLE)
        y = tl.where(inside, y * scale.to(y.dtype)[:, None], 0.0)
    return y


@triton.jit
def outwards(x):
    """A float32 that is not below a float64."""
    return tl.where(x > 0, x * (1 + 2.0**-23), x * (1 - 2.0**-23)).to(tl.float32)


@triton.jit
def tile_maxima(
    z, z_half, codes, code_half, shift, shift_norm, code_exponent, exponents, z_norms, z_residuals,
    bias, tile_norms, tile_residuals, rows, count, base, upper, lower, N, K, tiles, blocks,
    product_error, bias_error, dot_error,
    D: tl.constexpr, DP: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BD: tl.constexpr,
    HALF: tl.constexpr, L2: tl.constexpr, Z_SHIFTED: tl.constexpr, SHIFTED: tl.constexpr, LISTED: tl.constexpr,
    DOUBLE: tl.constexpr,
):  # fmt: skip
    """For BM rows and `blocks` blocks of codes: each tile's largest score plus its error, and the largest score minus it.

    With DOUBLE products are float64's, and scores are written less `base`, which is near a row's best: so float32 holds what
    matters of them.

    Args:
        rows: With LISTED, the rows to search, of which there are `count`; all N otherwise.
        base: A number for each row.
        upper: (rows, tiles).
        lower: (splits, rows).
    """
    slots = tl.program_id(0) * BM + tl.arange(0, BM)
    stride = N
    if LISTED:
        N = tl.load(count)
        if tl.program_id(0) * BM >= N:
            return
    used = slots < N
    r = slots
    if LISTED:
        r = tl.load(rows + slots, mask=used, other=0)
    d = tl.arange(0, BD)
    t = tl.load(code_exponent)
    a = tl.load(exponents + r, mask=used, other=0)
    ratio = tl.full([BM], 1.0, tl.float32)
    if L2:
        ratio = power_of_two(tl.minimum(tl.maximum(a - t, -126), 60))
    z_scale = power_of_two(a)
    code_scale = power_of_two(t + tl.zeros([BN], tl.int32))
    z_norm = tl.load(z_norms + r, mask=used, other=0.0)
    z_residual = z_norm
    if HALF:
        z_residual = tl.load(z_residuals + r, mask=used, other=0.0)
    far = tl.load(shift_norm)
    best = tl.full([BM], -float('inf'), tl.float32)
    q = tl.arange(0, 4)
    start_score = tl.zeros([BM], tl.float64)
    if DOUBLE:
        start_score += tl.load(base + r, mask=used, other=0.0)
    if BD >= DP and not DOUBLE:
        whole = operand(z, z_half, shift, z_scale, r, d, used, D, DP, HALF, Z_SHIFTED, False)
    first = tl.program_id(1) * blocks
    for block in range(first, tl.minimum(first + blocks, tiles // 4)):
        k = block * BN + tl.arange(0, BN)
        added = tl.load(bias + k)
        acc = tl.zeros([BM, BN], tl.float64 if DOUBLE else tl.float32)
        if DOUBLE:
            squares = tl.zeros([BN], tl.float64)
            for start in range(0, DP, BD):
                part = operand(z, z_half, shift, z_scale, r, start + d, used, D, DP, False, Z_SHIFTED, True)
                c = operand(codes, code_half, shift, code_scale, k, start + d, k < K, D, DP, False, SHIFTED, True)
                squares += tl.sum(c * c, 1)
                acc = tl.dot(part, tl.trans(c), acc, input_precision='ieee', out_dtype=tl.float64)
            if L2:
                added = tl.where(added > -float('inf'), -0.5 * squares, -float('inf'))
        elif BD >= DP:
            c = operand(codes, code_half, shift, code_scale, k, d, k < K, D, DP, HALF, SHIFTED, False)
            acc = tl.dot(whole, tl.trans(c), acc, input_precision='ieee')  # pyrefly: ignore[unbound-name]
        else:
            for start in range(0, DP, BD):
                part = operand(z, z_half, shift, z_scale, r, start + d, used, D, DP, HALF, Z_SHIFTED, False)
                c = operand(codes, code_half, shift, code_scale, k, start + d, k < K, D, DP, HALF, SHIFTED, False)
                acc = tl.dot(part, tl.trans(c), acc, input_precision='ieee')
        v = acc + ratio[:, None] * added[None, :]
        if DOUBLE:
            v -= start_score[:, None]
        top = tl.max(tl.max(tl.reshape(v, [BM, BN // 8, 4, 2]), 3), 1)
        c_norm = tl.load(tile_norms + block * 4 + q)[None, :]
        if HALF:
            c_residual = tl.load(tile_residuals + block * 4 + q)[None, :]
            n = (z_norm + z_residual)[:, None]
            error = z_residual[:, None] * c_norm + n * c_residual + product_error * n * (c_norm + c_residual)
        else:
            error = product_error * z_norm[:, None] * c_norm
        if L2:
            error += ratio[:, None] * (bias_error * c_norm * c_norm)
        else:
            error += dot_error * z_norm[:, None] * (c_norm + far)
        error = SLACK * error + TINY
        if DOUBLE:
            error += 2.0**-52 * tl.abs(start_score)[:, None]
            most, least = outwards(top + error), -outwards(error - top)
        else:
            most, least = top + error, top - error
        tl.store(upper + slots.to(tl.int64)[:, None] * tiles + block * 4 + q[None, :], most, mask=used[:, None])
        best = tl.maximum(best, tl.max(tl.where(least == least, least, -float('inf')), 1))
    tl.store(lower + tl.program_id(1) * stride + slots, best, mask=used)


@triton.jit
def rescore_tiles(
    z, codes, code_exponent, exponents, z_norms, rows, count, base, upper, lower, indices, next_rows, next_count, compared,
    N, K, tiles, splits, limit, distance_error,
    D: tl.constexpr, BN: tl.constexpr, BW: tl.constexpr, BS: tl.constexpr, L2: tl.constexpr, LISTED: tl.constexpr,
    DOUBLE: tl.constexpr,
):  # fmt: skip
    """A row's code from the tiles that may hold it, by float64 in `rescore`'s order.

    Rows with more than `limit` tiles are listed for the next pass, with their best score as its `base`; with DOUBLE, which is
    the last pass, there is no limit.

    Args:
        next_rows: Where they are listed, `next_count` so far.
        compared: Tiles compared so far.
    """
    slot = tl.program_id(0)
    row = slot
    if LISTED:
        if slot >= tl.load(count):
            return
        row = tl.load(rows + slot)
    s = tl.arange(0, BS)
    best_score = tl.max(tl.load(lower + s * N + slot, mask=s < splits, other=-float('inf')), 0)
    threshold, score = best_score, best_score
    if DOUBLE:
        score += tl.load(base + row)
        threshold -= 2.0**-23 * tl.abs(best_score)
    if L2:
        a = tl.load(exponents + row)
        ratio = power_of_two(tl.minimum(tl.maximum(a - tl.load(code_exponent), -126), 60))
        length = tl.load(z_norms + row)
        threshold -= distance_error * (length * length / ratio + tl.abs(score))
    threshold = tl.where(threshold == threshold, threshold, -float('inf'))
    w = tl.arange(0, BW)
    mine = upper + slot.to(tl.int64) * tiles
    kept = 0
    for start in range(0, tiles, BW):
        u = tl.load(mine + start + w, mask=start + w < tiles, other=-float('inf'))
        kept += tl.sum(((start + w < tiles) & ((u >= threshold) | (u != u))).to(tl.int32), 0)
    if not DOUBLE:  # noqa: SIM102 a constant and a number known on the device only
        if kept > limit:
            tl.store(base + row, tl.where(tl.abs(best_score) < float('inf'), best_score, 0.0))
            tl.store(next_rows + tl.atomic_add(next_count, 1), row)
            return
    tl.atomic_add(compared, kept)
    T: tl.constexpr = BN // 4
    i = tl.arange(0, T)
    lane = tl.arange(0, LANES)
    z_row = z + row.to(tl.int64) * D
    best = tl.full([], float('inf'), tl.float64)
    index = tl.full([], 0, tl.int32)
    for start in range(0, tiles, BW):
        u = tl.load(mine + start + w, mask=start + w < tiles, other=-float('inf'))
        keep = (start + w < tiles) & ((u >= threshold) | (u != u))
        tile = tl.min(tl.where(keep, start + w, NOTHING), 0)
        while tile < NOTHING:
            k = (tile // 4) * BN + (tile % 4) * 2 + (i // 2) * 8 + i % 2
            lanes = tl.zeros([T, LANES], tl.float64)
            for channel in range(0, D, LANES):
                live = channel + lane < D
                x = tl.load(z_row + channel + lane, mask=live, other=0.0).to(tl.float64)
                at = k.to(tl.int64)[:, None] * D + channel + lane[None, :]
                c = tl.load(codes + at, mask=(k < K)[:, None] & live[None, :], other=0.0).to(tl.float64)
                if L2:
                    lanes += (x[None, :] - c) * (x[None, :] - c)
                else:
                    lanes -= x[None, :] * c
            lanes = tl.sum(tl.reshape(lanes, [T, 2, 16]), 1)
            lanes = tl.sum(tl.reshape(lanes, [T, 2, 8]), 1)
            lanes = tl.sum(tl.reshape(lanes, [T, 2, 4]), 1)
            lanes = tl.sum(tl.reshape(lanes, [T, 2, 2]), 1)
            values = tl.where(k < K, tl.sum(lanes, 1), float('inf'))
            value = tl.min(values, 0)
            found = tl.min(tl.where(values == value, k, NOTHING), 0)
            better = (value < best) | ((value == best) & (found < index))
            best = tl.where(better, value, best)
            index = tl.where(better, found, index)
            keep = keep & (start + w != tile)
            tile = tl.min(tl.where(keep, start + w, NOTHING), 0)
    tl.store(indices + row, index.to(tl.int64))
