"""A token from a row of logits: thresholds by bisection of their bits, sums in integers."""

import triton
import triton.language as tl


@triton.jit
def logits_of(logits, row, start, temperature, V: tl.constexpr, TEMPERED: tl.constexpr, BLOCK: tl.constexpr):
    at = start + tl.arange(0, BLOCK)
    x = tl.load(logits + row * V + at, mask=at < V, other=float('-inf'))
    if TEMPERED:
        x = tl.div_rn(x, temperature + tl.zeros_like(x))
    return x


@triton.jit
def keys_of(x):
    """int64 in [0, 2^32) in the order of float32 numbers; both zeros have the same."""
    bits = tl.where(x == 0, 0.0, x).to(tl.int32, bitcast=True).to(tl.int64)
    return tl.where(bits >= 0, bits + 2147483648, -1 - bits)


@triton.jit
def weights_of(x, top, kept, ONE: tl.constexpr):
    """exp(x - top) in units of 2^-40."""
    w = (tl.exp(x.to(tl.float64) - top.to(tl.float64)) * ONE).to(tl.int64)
    return tl.where(kept, w, tl.zeros_like(w))


@triton.jit
def draw_kernel(
    logits, uniforms, out, temperature,
    V: tl.constexpr, TOP_K: tl.constexpr, TOP_P: tl.constexpr, TEMPERED: tl.constexpr,
    ONE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    place = tl.arange(0, BLOCK)
    zero = tl.full([], 0, tl.int64)
    one = tl.full([], 1, tl.int64)
    top = tl.full([], float('-inf'), tl.float32)
    for start in range(0, V, BLOCK):
        top = tl.maximum(top, tl.max(logits_of(logits, row, start, temperature, V, TEMPERED, BLOCK), 0))

    least = zero  # keys below it are left out
    if TOP_K > 0:  # the largest threshold that leaves k
        for bit in range(32):
            trial = least + (one << (31 - bit))
            count = zero
            for start in range(0, V, BLOCK):
                x = logits_of(logits, row, start, temperature, V, TEMPERED, BLOCK)
                count += tl.sum(((keys_of(x) >= trial) & (start + place < V)).to(tl.int64), 0)
            least = tl.where(count >= TOP_K, trial, least)

    total = zero
    for start in range(0, V, BLOCK):
        x = logits_of(logits, row, start, temperature, V, TEMPERED, BLOCK)
        total += tl.sum(weights_of(x, top, keys_of(x) >= least, ONE), 0)

    ties = one * V  # how many of the tokens whose key is `edge` are kept
    edge = least
    if TOP_P < 1.0:
        allowed = (tl.full([], TOP_P, tl.float64) * total.to(tl.float64)).to(tl.int64)
        edge = zero  # the largest threshold that leaves more than is allowed
        for bit in range(32):
            trial = edge + (one << (31 - bit))
            mass = zero
            for start in range(0, V, BLOCK):
                x = logits_of(logits, row, start, temperature, V, TEMPERED, BLOCK)
                key = keys_of(x)
                mass += tl.sum(weights_of(x, top, (key >= trial) & (key >= least), ONE), 0)
            edge = tl.where(mass > allowed, trial, edge)
        above, weight, count = zero, zero, zero
        for start in range(0, V, BLOCK):
            x = logits_of(logits, row, start, temperature, V, TEMPERED, BLOCK)
            key = keys_of(x)
            above += tl.sum(weights_of(x, top, key > edge, ONE), 0)
            weight = tl.maximum(weight, tl.max(weights_of(x, top, key == edge, ONE), 0))
            count += tl.sum(((key == edge) & (start + place < V)).to(tl.int64), 0)
        ties = tl.minimum((allowed - above) // weight + 1, count)
        total = above + ties * weight

    wanted = (tl.load(uniforms + row) * total.to(tl.float64)).to(tl.int64)
    wanted = tl.minimum(wanted, total - 1)
    token, before, tied = zero, zero, zero
    for start in range(0, V, BLOCK):
        x = logits_of(logits, row, start, temperature, V, TEMPERED, BLOCK)
        key = keys_of(x)
        kept = key >= edge
        if TOP_P < 1.0:
            on_edge = ((key == edge) & (start + place < V)).to(tl.int64)
            kept = kept & ((key > edge) | (tied + tl.cumsum(on_edge, 0) <= ties))
            tied += tl.sum(on_edge, 0)
        w = weights_of(x, top, kept, ONE)
        token += tl.sum((before + tl.cumsum(w, 0) <= wanted).to(tl.int64), 0)
        before += tl.sum(w, 0)
    tl.store(out + row, token)
