"""A tile of a large matrix times a few rows, which may be normalized on the way: the loop that the kernels share."""

import triton
import triton.language as tl


@triton.jit
def inverse_rms(x, row, live, eps, D: tl.constexpr, BR: tl.constexpr):
    """1 / sqrt(mean(x^2) + eps) of rows (BR,) of x. The same tile, and so the same order of the sum, in all callers."""
    k = tl.arange(0, 256)
    total = tl.zeros([BR, 256], tl.float32)
    for start in range(0, D, 256):
        inside = start + k < D
        v = tl.load(x + row[:, None] * D + (start + k)[None, :], mask=live[:, None] & inside[None, :], other=0.0)
        v = v.to(tl.float32)
        total += v * v
    return tl.rsqrt(tl.sum(total, 1) / D + eps)


@triton.jit
def inverse_rms_kernel(x, out, R, eps, D: tl.constexpr, BR: tl.constexpr):
    row = (tl.program_id(0) * BR + tl.arange(0, BR)).to(tl.int64)
    tl.store(out + row, inverse_rms(x, row, row < R, eps, D, BR), mask=row < R)


@triton.jit
def products(
    x, row, live, norm, scales, eps, weight, first, second, inside_n,
    D: tl.constexpr, NORM: tl.constexpr, SCALED: tl.constexpr, PAIR: tl.constexpr,
    BM: tl.constexpr, BR: tl.constexpr, BK: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """float32 (BM, BR): rows `first` of a weight (N, D) times rows `row` of x, and with PAIR also its rows `second`.

    With NORM the rows are those of `RMSNorm`, rounded as it rounds; SCALED if their scales were computed before.
    """
    k = tl.arange(0, BK)
    scale = tl.zeros([BR], tl.float32)
    if NORM:
        scale = tl.load(scales + row, mask=live, other=0.0) if SCALED else inverse_rms(x, row, live, eps, D, BR)
    one = tl.zeros([BM, BR], tl.float32)
    two = tl.zeros([BM, BR], tl.float32)
    for start in tl.range(0, D, BK, num_stages=STAGES):
        at = start + k
        inside = at < D
        a = tl.load(weight + first[:, None] * D + at[None, :], mask=inside_n[:, None] & inside[None, :], other=0.0)
        v = tl.load(x + row[None, :] * D + at[:, None], mask=inside[:, None] & live[None, :], other=0.0)
        if NORM:
            gain = tl.load(norm + at, mask=inside, other=0.0).to(tl.float32)
            v = (v.to(tl.float32) * scale[None, :]).to(x.dtype.element_ty)
            v = (v.to(tl.float32) * gain[:, None]).to(x.dtype.element_ty)
        one = tl.dot(a, v, one, input_precision='ieee')
        if PAIR:
            b = tl.load(weight + second[:, None] * D + at[None, :], mask=inside_n[:, None] & inside[None, :], other=0.0)
            two = tl.dot(b, v, two, input_precision='ieee')
    return one, two
